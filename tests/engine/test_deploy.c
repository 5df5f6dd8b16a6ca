/* SPDX-License-Identifier: Apache-2.0 */
/* The way of a deploy through a real decoder and a real store, and what the reload makes of it. */
#include <errno.h>
#include <pthread.h>

#include "engine/fsck.h"
#include "engine/log.h"
#include "engine/quarantine.h"
#include "engine/route.h"
#include "engine/status.h"
#include "engine/unload.h"
#include "engine/verify.h"
#include "fixture.h"
#include "store/contents.h"
#include "store/private.h"

static void print_finding(void *context, const struct reason *reason)
{
	(void)context;
	fprintf(stderr, "fsck: %s: %s\n", reason->code, reason->message);
}

/* The state on disk is whole, and nothing is in it that no version names. */
static void assert_clean(struct fixture *fixture)
{
	struct fsck_watcher watcher = {.finding = print_finding};
	struct fsck_totals totals;
	struct reason reason = {0};

	engine_close(fixture->engine);
	fixture_mount(fixture);
	engine_close(fixture->engine);
	cr_assert_eq(fsck_state(fixture->state, &watcher, &totals, &reason), 0, "%s",
		     reason.message);
	cr_assert_eq(totals.findings, 0);
	fixture_mount(fixture);
}

static void assert_routed(struct fixture *fixture, const char *type, const struct digest *digest)
{
	struct digest routed;

	cr_assert_eq(catalog_route(fixture->engine->catalog, type, &routed), 0);
	cr_assert(digest_equal(&routed, digest));
}

static uint64_t count_contents(struct fixture *fixture)
{
	uint64_t count;

	cr_assert_eq(contents_count(fixture->engine->store, &count), 0);
	return count;
}

Test(deploy, persists_routes_and_survives_the_remount)
{
	struct fixture fixture;
	struct digest first, second;
	struct version *held;

	fixture_open(&fixture);
	first = fixture_deploy(&fixture, BOX_DEPLOY, "order", "1", "one");
	assert_routed(&fixture, "order", &first);
	second = fixture_deploy(&fixture, BOX_DEPLOY, "order", "2", "two");
	assert_routed(&fixture, "order", &second);
	fixture_remount(&fixture);
	assert_routed(&fixture, "order", &second);
	held = catalog_find(fixture.engine->catalog, "order", &first);
	cr_assert_not_null(held);
	version_put(held);
	assert_clean(&fixture);
	fixture_close(&fixture);
}

Test(deploy, a_stage_leaves_the_route_where_it_is)
{
	struct fixture fixture;
	struct digest first, routed;

	fixture_open(&fixture);
	fixture_deploy(&fixture, BOX_STAGE, "staged", "1", "one");
	cr_assert_eq(catalog_route(fixture.engine->catalog, "staged", &routed), -ENOENT);
	first = fixture_deploy(&fixture, BOX_DEPLOY, "order", "1", "one");
	fixture_deploy(&fixture, BOX_STAGE, "order", "2", "two");
	assert_routed(&fixture, "order", &first);
	fixture_remount(&fixture);
	cr_assert_eq(catalog_route(fixture.engine->catalog, "staged", &routed), -ENOENT);
	assert_routed(&fixture, "order", &first);
	fixture_close(&fixture);
}

Test(deploy, the_same_archive_again_is_a_success_and_routes)
{
	struct fixture fixture;
	struct receipt receipt;
	struct digest first, again;
	uint64_t contents;

	fixture_open(&fixture);
	first = fixture_deploy(&fixture, BOX_DEPLOY, "order", "1", "one");
	fixture_deploy(&fixture, BOX_DEPLOY, "order", "2", "two");
	contents = count_contents(&fixture);
	again = fixture_deploy(&fixture, BOX_DEPLOY, "order", "1", "one");
	cr_assert(digest_equal(&first, &again));
	assert_routed(&fixture, "order", &first);
	cr_assert_eq(count_contents(&fixture), contents);
	cr_assert_eq(receipt_get(fixture.engine, BOX_DEPLOY, "fixture.tar", &receipt), 0);
	cr_assert_not_null(strstr(receipt.text, "\"freshly_loaded\":false"), "%s", receipt.text);
	cr_assert_not_null(strstr(receipt.text, "\"new_bytes\":0"), "%s", receipt.text);
	free(receipt.text);
	assert_clean(&fixture);
	fixture_close(&fixture);
}

Test(deploy, what_is_prepared_and_given_up_leaves_nothing)
{
	struct fixture fixture;
	struct prepared *prepared = NULL;
	struct reason reason = {0};
	uint64_t before;
	int file;

	fixture_open(&fixture);
	before = count_contents(&fixture);
	file = fixture_archive_open("order", "1");
	fixture_tar_entry(file, "data", "some bytes", 10, 0644);
	fixture_archive_end(file);
	cr_assert_eq(fixture_prepare(&fixture, file, &prepared, &reason), 0, "%s", reason.message);
	cr_assert_gt(count_contents(&fixture), before);
	deploy_discard(prepared);
	close(file);
	cr_assert_eq(count_contents(&fixture), before);
	assert_clean(&fixture);
	fixture_close(&fixture);
}

Test(deploy, a_refused_archive_leaves_nothing)
{
	struct fixture fixture;
	struct reason reason = {0};
	uint64_t before;
	int file;

	fixture_open(&fixture);
	before = count_contents(&fixture);
	file = fixture_archive_open("order", "1");
	fixture_tar_entry(file, "../out", "x", 1, 0644);
	fixture_archive_end(file);
	cr_assert_eq(fixture_deploy_file(&fixture, file, BOX_DEPLOY, "bad.tar", &reason), -EINVAL);
	cr_assert_str_eq(reason.code, "entry_unsafe");
	file = fixture_archive_open("order", "1");
	fixture_tar_entry(file, "cut", "x", 1, 0644);
	memset(&reason, 0, sizeof(reason));
	cr_assert_eq(fixture_deploy_file(&fixture, file, BOX_DEPLOY, "cut.tar", &reason),
		     -EBADMSG);
	cr_assert_str_eq(reason.code, "archive_truncated");
	cr_assert_eq(count_contents(&fixture), before);
	cr_assert_not(catalog_has_type(fixture.engine->catalog, "order"));
	assert_clean(&fixture);
	fixture_close(&fixture);
}

Test(deploy, an_empty_file_costs_one_reference_however_often_it_occurs)
{
	struct fixture fixture;
	struct reason reason = {0};
	int file;

	fixture_open(&fixture);
	file = fixture_archive_open("order", "1");
	fixture_tar_entry(file, "empty1", "", 0, 0644);
	fixture_tar_entry(file, "empty2", "", 0, 0644);
	fixture_archive_end(file);
	cr_assert_eq(fixture_deploy_file(&fixture, file, BOX_DEPLOY, "x", &reason), 0, "%s",
		     reason.message);
	assert_clean(&fixture);
	fixture_close(&fixture);
}

Test(deploy, a_signature_is_kept_out_of_the_version_and_freed_with_it)
{
	struct fixture fixture;
	struct reason reason = {0};
	struct digest plain = {0};
	struct version_list list;
	uint64_t before;
	int file;

	fixture_open(&fixture);
	before = count_contents(&fixture);
	for (int with = 0; with < 2; with++) {
		file = fixture_archive_open("order", "1");
		if (with)
			fixture_tar_entry(file, "manifest.sig", "signed", 6, 0644);
		fixture_archive_end(file);
		cr_assert_eq(fixture_deploy_file(&fixture, file, BOX_STAGE, "x", &reason), 0);
		cr_assert_eq(catalog_list_versions(fixture.engine->catalog, "order", &list), 0);
		cr_assert_eq(list.count, 1);
		plain = list.versions[0]->digest;
		catalog_list_free(&list);
		cr_assert_eq(unload_version(fixture.engine, &fixture.caller, "order", &plain,
					    &reason),
			     0, "%s", reason.message);
		cr_assert_eq(count_contents(&fixture), before);
	}
	assert_clean(&fixture);
	fixture_close(&fixture);
}

Test(deploy, the_signature_of_the_first_deploy_stays_and_no_other_is_kept)
{
	struct fixture fixture;
	struct reason reason = {0};
	struct version_list list;

	fixture_open(&fixture);
	for (int round = 0; round < 4; round++) {
		int file = fixture_archive_open(round < 2 ? "first" : "second", "1");

		if (round % 2 == (round < 2))
			fixture_tar_entry(file, "manifest.sig", "signed", 6, 0644);
		fixture_archive_end(file);
		cr_assert_eq(fixture_deploy_file(&fixture, file, BOX_DEPLOY, "x", &reason), 0);
	}
	cr_assert_eq(catalog_list_versions(fixture.engine->catalog, NULL, &list), 0);
	cr_assert_eq(list.count, 2);
	cr_assert_not(list.versions[0]->has_signature);
	cr_assert(list.versions[1]->has_signature);
	catalog_list_free(&list);
	assert_clean(&fixture);
	fixture_close(&fixture);
}

/* What a persisted copy of an operator package says is its own archive's, not the operator's. */
Test(deploy, a_stage_of_an_operator_package_persists_what_was_staged)
{
	struct fixture fixture;
	struct reason reason = {0};
	struct version_list list;
	struct digest routed, wanted;
	char path[64];
	int package = fixture_archive_open("order", "1"), file;

	fixture_tar_entry(package, "manifest.sig", "operator's", 10, 0644);
	fixture_archive_end(package);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", package);
	fixture_open(&fixture);
	fixture.options.packages[0] = path;
	fixture.options.package_count = 1;
	fixture_remount(&fixture);
	cr_assert_eq(catalog_list_versions(fixture.engine->catalog, "order", &list), 0);
	cr_assert_eq(list.count, 1);
	cr_assert(list.versions[0]->has_signature);
	cr_assert_eq(list.versions[0]->signature_bytes, 10);
	catalog_list_free(&list);

	file = fixture_archive_open("order", "1");
	fixture_tar_entry(file, "manifest.sig", "staged", 6, 0644);
	fixture_archive_end(file);
	cr_assert_eq(fixture_deploy_file(&fixture, file, BOX_STAGE, "x", &reason), 0);
	fixture.options.package_count = 0;
	fixture_remount(&fixture);
	cr_assert_eq(catalog_route(fixture.engine->catalog, "order", &routed), -ENOENT);
	cr_assert_eq(catalog_list_versions(fixture.engine->catalog, "order", &list), 0);
	cr_assert_eq(list.count, 1);
	digest_of("staged", 6, &wanted);
	cr_assert(list.versions[0]->has_signature);
	cr_assert(digest_equal(&list.versions[0]->signature, &wanted));
	catalog_list_free(&list);
	assert_clean(&fixture);
	fixture_close(&fixture);
	close(package);
}

/* Takes a content's record away behind the store's back. */
static void lose_content(struct fixture *fixture, const struct digest *digest)
{
	MDB_val key = {.mv_size = DIGEST_BYTES, .mv_data = (void *)digest->bytes};
	struct env env;
	MDB_txn *txn;

	engine_close(fixture->engine);
	cr_assert_eq(env_open(fixture->state, &contents_kind, ENV_WRITE, &env, NULL), 0);
	cr_assert_eq(mdb_txn_begin(env.lmdb, NULL, 0, &txn), 0);
	cr_assert_eq(mdb_del(txn, env.tables[CONTENTS_RECORDS], &key, NULL), 0);
	cr_assert_eq(mdb_txn_commit(txn), 0);
	env_close(&env);
	fixture_mount(fixture);
}

Test(verify, a_hostile_name_forges_no_line_and_hides_no_message)
{
	static const char name[] = "bad\ncontent_damaged: \xff\033[2J";
	struct fixture fixture;
	struct digest version, body;
	struct version *loaded;
	size_t length;
	int64_t at_ns;
	char *text, log[8192] = {0};

	fixture_open(&fixture);
	fixture.options.no_scrub = true;
	version = fixture_deploy(&fixture, BOX_DEPLOY, "order", "1", "body");
	cr_assert_eq(digest_of("body", 4, &body), 0);
	lose_content(&fixture, &body);
	loaded = catalog_find(fixture.engine->catalog, "order", &version);
	cr_assert_not_null(loaded);
	cr_assert_eq(verify_file(fixture.engine, loaded, &body, 4, name, false, NULL), -EIO);
	cr_assert_eq(quarantine_get(fixture.engine, "order", loaded->hex, &text, &length, &at_ns),
		     0);
	cr_assert_eq(strchr(text, '\n'), text + length - 1, "%s", text);
	cr_assert_null(memchr(text, 033, length));
	cr_assert_not_null(strstr(text, "bad\\012content_damaged"), "%s", text);
	cr_assert_gt(log_read(fixture.engine, 0, log, sizeof(log) - 1), 0);
	cr_assert_not_null(strstr(log, "deploy the same archive again"), "%s", log);
	free(text);
	version_put(loaded);
	fixture_close(&fixture);
}

Test(route, is_set_by_path_version_or_prefix_and_survives)
{
	struct fixture fixture;
	struct reason reason = {0};
	struct digest first, second;
	char target[256], hex[DIGEST_HEX + 1];

	fixture_open(&fixture);
	first = fixture_deploy(&fixture, BOX_DEPLOY, "order", "1", "one");
	second = fixture_deploy(&fixture, BOX_DEPLOY, "order", "2", "two");
	digest_hex(&first, hex);
	snprintf(target, sizeof(target), "../packages/order/%s", hex);
	cr_assert_eq(route_set(fixture.engine, &fixture.caller, "order", target, &reason), 0);
	assert_routed(&fixture, "order", &first);
	cr_assert_eq(route_set(fixture.engine, &fixture.caller, "order", digest_hex(&second, hex),
			       &reason),
		     0);
	assert_routed(&fixture, "order", &second);
	snprintf(target, sizeof(target), "/mnt/x/packages/order/%.8s/", digest_hex(&first, hex));
	cr_assert_eq(route_set(fixture.engine, &fixture.caller, "order", target, &reason), 0, "%s",
		     reason.message);
	fixture_remount(&fixture);
	assert_routed(&fixture, "order", &first);
	fixture_close(&fixture);
}

Test(route, refuses_what_is_no_version_of_the_type_and_stays)
{
	struct fixture fixture;
	struct reason reason = {0};
	struct digest order, other;
	char hex[DIGEST_HEX + 1], path[256];
	struct caller stranger = {.uid = 4242, .gid = 4242, .pid = 0};

	fixture_open(&fixture);
	order = fixture_deploy(&fixture, BOX_DEPLOY, "order", "1", "one");
	other = fixture_deploy(&fixture, BOX_DEPLOY, "other", "1", "one");
	cr_assert_eq(route_set(fixture.engine, &fixture.caller, "order", "nonsense", &reason),
		     -EINVAL);
	cr_assert_eq(route_set(fixture.engine, &fixture.caller, "order", "0000000", &reason),
		     -EINVAL);
	cr_assert_eq(route_set(fixture.engine, &fixture.caller, "order", "00000000", &reason),
		     -ENOENT);
	cr_assert_eq(route_set(fixture.engine, &fixture.caller, "order", digest_hex(&other, hex),
			       &reason),
		     -EINVAL);
	snprintf(path, sizeof(path), "../packages/other/%s", digest_hex(&other, hex));
	cr_assert_eq(route_set(fixture.engine, &fixture.caller, "order", path, &reason), -EINVAL);
	cr_assert_eq(route_set(fixture.engine, &stranger, "order", digest_hex(&order, hex),
			       &reason),
		     -EACCES);
	cr_assert_str_eq(reason.code, "not_permitted");
	assert_routed(&fixture, "order", &order);
	fixture_close(&fixture);
}

static void point_route(struct fixture *fixture, const char *type, const struct digest *digest)
{
	struct row_change change = {.kind = ROW_PUT_ROUTE};
	struct reason reason = {0};

	strcpy(change.route.type, type);
	change.route.version = *digest;
	cr_assert_eq(rows_commit(fixture->engine->store, &change, 1, &reason), 0);
}

static void assert_fallbacks(struct fixture *fixture, const char *wanted, bool told)
{
	size_t length;
	char *text;

	cr_assert_eq(status_json(fixture->engine, &text, &length), 0);
	cr_assert_eq(strstr(text, wanted) != NULL, told, "%s", text);
	free(text);
}

Test(route, to_an_absent_version_is_warned_about_and_the_row_stays)
{
	struct fixture fixture;
	struct reason reason = {0};
	struct digest first, second, staged, absent, routed;
	char hex[DIGEST_HEX + 1];

	fixture_open(&fixture);
	first = fixture_deploy(&fixture, BOX_DEPLOY, "order", "1", "one");
	second = fixture_deploy(&fixture, BOX_DEPLOY, "order", "2", "two");
	staged = fixture_deploy(&fixture, BOX_STAGE, "order", "3", "three");
	fixture_deploy(&fixture, BOX_STAGE, "staged", "1", "one");
	absent = first;
	absent.bytes[0] ^= 1;
	digest_hex(&absent, hex);
	point_route(&fixture, "order", &absent);
	point_route(&fixture, "staged", &absent);
	point_route(&fixture, "unknown", &absent);
	for (int mount = 0; mount < 2; mount++) {
		fixture_remount(&fixture);
		assert_routed(&fixture, "order", &second);
		cr_assert_eq(catalog_route(fixture.engine->catalog, "staged", &routed), -ENOENT);
		cr_assert_eq(catalog_route(fixture.engine->catalog, "unknown", &routed), -ENOENT);
		assert_fallbacks(&fixture, hex, true);
	}
	/* A later re-route ends the fallback. */
	cr_assert_eq(route_set(fixture.engine, &fixture.caller, "order", digest_hex(&staged, hex),
			       &reason),
		     0);
	fixture_remount(&fixture);
	assert_routed(&fixture, "order", &staged);
	assert_fallbacks(&fixture, "\"order\",\"wanted\"", false);
	fixture_close(&fixture);
}

Test(route, a_removed_one_stays_removed)
{
	struct fixture fixture;
	struct reason reason = {0};
	struct digest routed;

	fixture_open(&fixture);
	fixture_deploy(&fixture, BOX_DEPLOY, "order", "1", "one");
	cr_assert_eq(route_remove(fixture.engine, &fixture.caller, "order", &reason), 0);
	cr_assert_eq(route_remove(fixture.engine, &fixture.caller, "order", &reason), -ENOENT);
	fixture_remount(&fixture);
	cr_assert_eq(catalog_route(fixture.engine->catalog, "order", &routed), -ENOENT);
	cr_assert(catalog_has_type(fixture.engine->catalog, "order"));
	fixture_close(&fixture);
}

Test(unload, refuses_the_routed_version_and_frees_what_no_other_shares)
{
	struct fixture fixture;
	struct reason reason = {0};
	struct digest first, second;
	uint64_t with_one;

	fixture_open(&fixture);
	first = fixture_deploy(&fixture, BOX_DEPLOY, "order", "1", "shared");
	with_one = count_contents(&fixture);
	second = fixture_deploy(&fixture, BOX_STAGE, "order", "2", "shared");
	cr_assert_eq(unload_version(fixture.engine, &fixture.caller, "order", &first, &reason),
		     -EBUSY);
	cr_assert_str_eq(reason.code, "version_routed");
	cr_assert_eq(unload_version(fixture.engine, &fixture.caller, "order", &second, &reason), 0);
	cr_assert_eq(count_contents(&fixture), with_one);
	cr_assert_eq(unload_version(fixture.engine, &fixture.caller, "order", &second, &reason),
		     -ENOENT);
	assert_clean(&fixture);
	assert_routed(&fixture, "order", &first);
	fixture_close(&fixture);
}

Test(unload, a_reader_keeps_the_contents_until_it_is_done)
{
	struct fixture fixture;
	struct reason reason = {0};
	struct version *held;
	struct digest first;
	uint64_t before, with_one;

	fixture_open(&fixture);
	before = count_contents(&fixture);
	first = fixture_deploy(&fixture, BOX_STAGE, "order", "1", "body");
	with_one = count_contents(&fixture);
	held = catalog_find(fixture.engine->catalog, "order", &first);
	cr_assert_not_null(held);
	cr_assert_eq(unload_version(fixture.engine, &fixture.caller, "order", &first, &reason), 0);
	cr_assert_eq(count_contents(&fixture), with_one);
	version_put(held);
	assert_clean(&fixture);
	cr_assert_eq(count_contents(&fixture), before);
	fixture_close(&fixture);
}

struct deployer {
	struct fixture *fixture;
	unsigned number;
};

static void *deploy_some(void *argument)
{
	struct deployer *deployer = argument;
	char type[16], name[16];

	snprintf(type, sizeof(type), "type%u", deployer->number % 3);
	snprintf(name, sizeof(name), "n%u", deployer->number);
	for (unsigned i = 0; i < 10; i++) {
		struct reason reason = {0};
		char label[16];
		int file, error;

		snprintf(label, sizeof(label), "%u", i);
		file = fixture_archive_open(type, label);
		fixture_tar_entry(file, "shared", "the same bytes for all", 22, 0644);
		fixture_archive_end(file);
		error = fixture_deploy_file(deployer->fixture, file, BOX_DEPLOY, name, &reason);
		cr_expect_eq(error, 0, "%s", reason.message);
	}
	return NULL;
}

Test(deploy, many_at_once_share_contents_and_lose_nothing)
{
	struct deployer deployers[6];
	struct catalog_counts counts;
	struct fixture fixture;
	pthread_t threads[6];

	fixture_open(&fixture);
	for (unsigned i = 0; i < 6; i++) {
		deployers[i] = (struct deployer){&fixture, i};
		cr_assert_eq(pthread_create(&threads[i], NULL, deploy_some, &deployers[i]), 0);
	}
	for (unsigned i = 0; i < 6; i++)
		pthread_join(threads[i], NULL);
	catalog_count(fixture.engine->catalog, &counts);
	cr_assert_eq(counts.types, 3);
	cr_assert_eq(counts.versions, 30);
	cr_assert_eq(counts.routes, 3);
	assert_clean(&fixture);
	catalog_count(fixture.engine->catalog, &counts);
	cr_assert_eq(counts.versions, 30);
	fixture_close(&fixture);
}
