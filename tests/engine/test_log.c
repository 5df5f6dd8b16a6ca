/* SPDX-License-Identifier: Apache-2.0 */
/* MNT/log: audit lines and notes in order, stable offsets, floods bounded; and the receipts. */
#include <errno.h>
#include <jansson.h>

#include "engine/audit.h"
#include "engine/log.h"
#include "engine/status.h"
#include "fixture.h"

static char *read_log(struct engine *engine, size_t step)
{
	uint64_t size = log_size(engine);
	char *text = calloc(1, size + step + 1);
	uint64_t offset = 0;

	cr_assert_not_null(text);
	while (offset < size) {
		ssize_t got = log_read(engine, offset, text + offset, step);

		cr_assert_gt(got, 0);
		offset += (uint64_t)got;
	}
	cr_assert_eq(log_read(engine, size, text + size, step), 0);
	return text;
}

/* Every line is a JSON object with a time and an event. Returns how many there are. */
static size_t check_lines(const char *text)
{
	size_t lines = 0;

	while (*text) {
		const char *end = strchr(text, '\n');
		json_t *line;

		cr_assert_not_null(end);
		line = json_loadb(text, (size_t)(end - text), 0, NULL);
		cr_assert(json_is_object(line), "%.200s", text);
		cr_assert(json_is_string(json_object_get(line, "at")));
		cr_assert(json_is_string(json_object_get(line, "event")));
		json_decref(line);
		text = end + 1;
		lines++;
	}
	return lines;
}

Test(log, shows_changes_and_notes_in_their_order)
{
	struct fixture fixture;
	char *text, *again;

	fixture_open(&fixture);
	fixture_deploy(&fixture, BOX_DEPLOY, "order", "1", "one");
	log_note(fixture.engine, "first_note", false, NULL);
	fixture_deploy(&fixture, BOX_DEPLOY, "order", "2", "two");
	log_note(fixture.engine, "second_note", false, NULL);
	text = read_log(fixture.engine, 100000);
	again = read_log(fixture.engine, 7);
	cr_assert_str_eq(text, again);
	cr_assert_eq(check_lines(text), 4);
	cr_assert_lt(strstr(text, "\"deploy\""), strstr(text, "first_note"));
	cr_assert_lt(strstr(text, "first_note"), strstr(text, "second_note"));
	free(text);
	free(again);
	fixture_remount(&fixture);
	text = read_log(fixture.engine, 4096);
	cr_assert_eq(check_lines(text), 2);
	cr_assert_null(strstr(text, "note"));
	free(text);
	fixture_close(&fixture);
}

Test(log, a_flood_becomes_one_line_with_a_count)
{
	struct fixture fixture;
	uint64_t size;

	fixture_open(&fixture);
	for (int i = 0; i < 100000; i++)
		log_note(fixture.engine, "denied", false, json_pack("{s:i}", "uid", 7));
	size = log_size(fixture.engine);
	cr_assert_lt(size, 100000);
	fixture_close(&fixture);
}

Test(log, old_notes_turn_blank_but_offsets_stay)
{
	struct fixture fixture;
	char body[4000], *text;
	uint64_t size;

	memset(body, 'x', sizeof(body) - 1);
	body[sizeof(body) - 1] = '\0';
	fixture_open(&fixture);
	for (int i = 0; i < 2000; i++)
		log_note(fixture.engine, "note", false,
			 json_pack("{s:i, s:s}", "uid", i, "body", body));
	size = log_size(fixture.engine);
	cr_assert_gt(size, 7000000);
	text = read_log(fixture.engine, 65536);
	cr_assert_eq(strlen(text), size);
	cr_assert_eq(text[0], ' ');
	cr_assert_eq(text[size - 1], '\n');
	cr_assert_not_null(strstr(text, "\"uid\":1999"));
	cr_assert_null(strstr(text, "\"uid\":0,"));
	free(text);
	fixture_close(&fixture);
}

Test(audit, a_name_that_is_no_utf8_still_makes_a_line)
{
	size_t length;
	char *line = audit_line("deploy", 0, NULL,
				json_pack("{s:o}", "name", audit_string("\xff\xfe name\n")),
				&length);

	cr_assert_not_null(line);
	cr_assert_eq(check_lines(line), 1);
	free(line);
}

Test(receipts, of_failures_last_until_the_unmount_those_of_successes_stay)
{
	struct fixture fixture;
	struct reason reason = {0};
	struct receipt receipt;

	fixture_open(&fixture);
	fixture_deploy(&fixture, BOX_DEPLOY, "order", "1", "one");
	reason_set(&reason, EBADMSG, "archive_corrupt", "it is \"bad\"");
	deploy_failed(fixture.engine, BOX_DEPLOY, "bad.tar", &fixture.caller, &reason);
	deploy_failed(fixture.engine, BOX_DEPLOY, "fixture.tar", &fixture.caller, &reason);
	cr_assert_eq(receipt_get(fixture.engine, BOX_DEPLOY, "fixture.tar", &receipt), 0);
	cr_assert_not_null(strstr(receipt.text, "\"failed\""));
	free(receipt.text);
	cr_assert_eq(receipt_stat(fixture.engine, BOX_STAGE, "bad.tar", &receipt), -ENOENT);
	fixture_remount(&fixture);
	cr_assert_eq(receipt_stat(fixture.engine, BOX_DEPLOY, "bad.tar", &receipt), -ENOENT);
	cr_assert_eq(receipt_get(fixture.engine, BOX_DEPLOY, "fixture.tar", &receipt), 0);
	cr_assert_not_null(strstr(receipt.text, "\"deployed\""));
	cr_assert_gt(receipt.at_ns, 0);
	free(receipt.text);
	fixture_close(&fixture);
}

Test(receipts, a_flood_of_failures_is_bounded_and_drives_no_success_out)
{
	struct fixture fixture;
	struct reason reason = {0};
	struct receipt receipt;
	char name[32], **names;
	size_t count;

	fixture_open(&fixture);
	fixture_deploy(&fixture, BOX_DEPLOY, "order", "1", "one");
	reason_set(&reason, EBADMSG, "archive_corrupt", "it is bad");
	for (int i = 0; i < RECEIPTS_MAX + 10; i++) {
		snprintf(name, sizeof(name), "bad-%d.tar", i);
		deploy_failed(fixture.engine, BOX_DEPLOY, name, &fixture.caller, &reason);
	}
	cr_assert_eq(receipt_stat(fixture.engine, BOX_DEPLOY, "fixture.tar", &receipt), 0);
	cr_assert_eq(receipt_stat(fixture.engine, BOX_DEPLOY, "bad-9.tar", &receipt), -ENOENT);
	cr_assert_eq(receipt_stat(fixture.engine, BOX_DEPLOY, "bad-10.tar", &receipt), 0);
	cr_assert_eq(receipt_list(fixture.engine, BOX_DEPLOY, &names, &count), 0);
	cr_assert_eq(count, RECEIPTS_MAX + 1);
	free(names);
	fixture_close(&fixture);
}

Test(receipts, removing_one_removes_nothing_else)
{
	struct fixture fixture;
	struct reason reason = {0};
	struct receipt receipt;
	struct caller stranger = {.uid = 4242, .gid = 4242, .pid = 0};

	fixture_open(&fixture);
	fixture_deploy(&fixture, BOX_DEPLOY, "order", "1", "one");
	cr_assert_eq(receipt_remove(fixture.engine, BOX_DEPLOY, "fixture.tar", &stranger, &reason),
		     -EACCES);
	cr_assert_eq(receipt_remove(fixture.engine, BOX_DEPLOY, "fixture.tar", &fixture.caller,
				    &reason),
		     0);
	cr_assert_eq(receipt_remove(fixture.engine, BOX_DEPLOY, "fixture.tar", &fixture.caller,
				    &reason),
		     -ENOENT);
	cr_assert(catalog_has_type(fixture.engine->catalog, "order"));
	fixture_remount(&fixture);
	cr_assert_eq(receipt_stat(fixture.engine, BOX_DEPLOY, "fixture.tar", &receipt), -ENOENT);
	cr_assert(catalog_has_type(fixture.engine->catalog, "order"));
	fixture_close(&fixture);
}

Test(status, is_json_that_counts)
{
	struct fixture fixture;
	size_t length;
	char *text;
	json_t *status;

	fixture_open(&fixture);
	fixture_deploy(&fixture, BOX_DEPLOY, "order", "1.4.0", "one");
	cr_assert_eq(status_json(fixture.engine, &text, &length), 0);
	status = json_loadb(text, length, 0, NULL);
	cr_assert_not_null(status);
	cr_assert(json_is_true(json_object_get(status, "ready")));
	cr_assert_eq(json_integer_value(json_object_get(status, "versions")), 1);
	cr_assert_eq(json_integer_value(json_object_get(status, "routes")), 1);
	cr_assert_not_null(strstr(text, "1.4.0"));
	json_decref(status);
	free(text);
	cr_assert_eq(status_metrics(fixture.engine, &text, &length), 0);
	cr_assert_not_null(strstr(text, "\naionfs_versions 1\n"));
	free(text);
	fixture_close(&fixture);
}
