/* SPDX-License-Identifier: Apache-2.0 */
/* The catalog: look-ups, references, routes, prefixes, and many threads at once. */
#include "engine/catalog.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Atomic int gone_count;

static void count_gone(void *context, struct version *version)
{
	(void)context;
	atomic_fetch_add(&gone_count, 1);
	version_free(version);
}

static struct version *make_version(const char *type, unsigned number)
{
	struct version *version = version_new();
	char text[32];

	snprintf(text, sizeof(text), "%u", number);
	cr_assert_not_null(version);
	strcpy(version->type, type);
	cr_assert_eq(digest_of(text, strlen(text), &version->digest), 0);
	digest_hex(&version->digest, version->hex);
	atomic_store(&version->changed, number);
	atomic_store(&version->last_ns, (int64_t)number);
	return version;
}

static struct catalog *make_catalog(void)
{
	struct catalog *catalog = catalog_new(count_gone, NULL);

	atomic_store(&gone_count, 0);
	cr_assert_not_null(catalog);
	return catalog;
}

Test(catalog, finds_what_was_added_by_type_and_digest)
{
	struct catalog *catalog = make_catalog();
	struct version *version = make_version("order", 1), *found;

	cr_assert_eq(catalog_add(catalog, version), 0);
	found = catalog_find(catalog, "order", &version->digest);
	cr_assert_eq(found, version);
	version_put(found);
	cr_assert_null(catalog_find(catalog, "other", &version->digest));
	cr_assert(catalog_has_elsewhere(catalog, "other", &version->digest));
	cr_assert_not(catalog_has_elsewhere(catalog, "order", &version->digest));
	found = catalog_find_slot(catalog, version->slot);
	cr_assert_eq(found, version);
	version_put(found);
	cr_assert_null(catalog_find_slot(catalog, 0));
	cr_assert_null(catalog_find_slot(catalog, version->slot + 1));
	catalog_free(catalog);
	cr_assert_eq(atomic_load(&gone_count), 1);
}

Test(catalog, an_unloaded_version_lives_as_long_as_its_reader)
{
	struct catalog *catalog = make_catalog();
	struct version *version = make_version("order", 1), *held;

	cr_assert_eq(catalog_add(catalog, version), 0);
	held = catalog_find(catalog, "order", &version->digest);
	catalog_remove(catalog, version, 7);
	cr_assert_null(catalog_find(catalog, "order", &held->digest));
	cr_assert_not(catalog_has_type(catalog, "order"));
	cr_assert_eq(catalog_type_changed_ns(catalog, "order"), 7);
	cr_assert_eq(atomic_load(&gone_count), 0);
	version_put(held);
	cr_assert_eq(atomic_load(&gone_count), 1);
	catalog_free(catalog);
}

Test(catalog, a_slot_is_never_used_again)
{
	struct catalog *catalog = make_catalog();
	struct version *first = make_version("order", 1), *second = make_version("order", 1);
	uint32_t slot;

	cr_assert_eq(catalog_add(catalog, first), 0);
	slot = first->slot;
	catalog_remove(catalog, first, 1);
	cr_assert_eq(catalog_add(catalog, second), 0);
	cr_assert_neq(second->slot, slot);
	catalog_free(catalog);
}

Test(catalog, lists_types_sorted_and_versions_newest_first)
{
	struct catalog *catalog = make_catalog();
	struct version_list versions;
	struct name_list types;

	for (unsigned i = 1; i <= 5; i++)
		cr_assert_eq(catalog_add(catalog, make_version("b", i)), 0);
	cr_assert_eq(catalog_add(catalog, make_version("a", 9)), 0);
	cr_assert_eq(catalog_list_types(catalog, &types), 0);
	cr_assert_eq(types.count, 2);
	cr_assert_str_eq(types.names[0], "a");
	cr_assert_str_eq(types.names[1], "b");
	free(types.names);
	cr_assert_eq(catalog_list_versions(catalog, "b", &versions), 0);
	cr_assert_eq(versions.count, 5);
	for (size_t i = 0; i < 5; i++)
		cr_assert_eq(atomic_load(&versions.versions[i]->changed), 5 - i);
	catalog_list_free(&versions);
	cr_assert_eq(catalog_list_versions(catalog, NULL, &versions), 0);
	cr_assert_eq(versions.count, 6);
	catalog_list_free(&versions);
	cr_assert_eq(catalog_list_versions(catalog, "none", &versions), 0);
	cr_assert_eq(versions.count, 0);
	catalog_list_free(&versions);
	catalog_free(catalog);
	cr_assert_eq(atomic_load(&gone_count), 6);
}

Test(catalog, a_prefix_must_be_unique)
{
	struct catalog *catalog = make_catalog();
	struct version *first = make_version("order", 1), *twin = make_version("order", 2), *found;
	int error;

	memcpy(twin->digest.bytes, first->digest.bytes, 8);
	digest_hex(&twin->digest, twin->hex);
	cr_assert_eq(catalog_add(catalog, first), 0);
	cr_assert_eq(catalog_add(catalog, twin), 0);
	cr_assert_null(catalog_find_prefix(catalog, "order", "zz", &error));
	cr_assert_eq(error, -ENOENT);
	cr_assert_null(catalog_find_prefix(catalog, "order", "", &error));
	cr_assert_eq(error, -EINVAL);
	found = catalog_find_prefix(catalog, "order", twin->hex, &error);
	cr_assert_eq(found, twin);
	version_put(found);
	cr_assert_null(catalog_find_prefix(catalog, "none", twin->hex, &error));
	cr_assert_eq(error, -ENOENT);
	catalog_free(catalog);
}

Test(catalog, routes_come_and_go)
{
	struct catalog *catalog = make_catalog();
	struct version *version = make_version("order", 1);
	struct catalog_counts counts;
	struct digest routed;

	cr_assert_eq(catalog_add(catalog, version), 0);
	cr_assert_eq(catalog_route(catalog, "order", &routed), -ENOENT);
	cr_assert_eq(catalog_set_route(catalog, "order", &version->digest, 5), 0);
	cr_assert_eq(catalog_route(catalog, "order", &routed), 0);
	cr_assert(digest_equal(&routed, &version->digest));
	cr_assert_eq(catalog_route_changed_ns(catalog, "order"), 5);
	catalog_count(catalog, &counts);
	cr_assert_eq(counts.types, 1);
	cr_assert_eq(counts.versions, 1);
	cr_assert_eq(counts.routes, 1);
	catalog_remove_route(catalog, "order", 6);
	cr_assert_eq(catalog_route(catalog, "order", &routed), -ENOENT);
	cr_assert_eq(catalog_route_changed_ns(catalog, "order"), 0);
	catalog_free(catalog);
}

Test(catalog, ten_thousand_versions_are_all_found)
{
	struct catalog *catalog = make_catalog();
	char type[16];

	for (unsigned i = 0; i < 10000; i++) {
		snprintf(type, sizeof(type), "t%u", i % 100);
		cr_assert_eq(catalog_add(catalog, make_version(type, i)), 0);
	}
	for (unsigned i = 0; i < 10000; i++) {
		struct version *wanted, *found;

		snprintf(type, sizeof(type), "t%u", i % 100);
		wanted = make_version(type, i);
		found = catalog_find(catalog, type, &wanted->digest);
		cr_assert_not_null(found);
		version_put(found);
		version_put(wanted);
	}
	catalog_free(catalog);
	cr_assert_eq(atomic_load(&gone_count), 10000);
}

struct race {
	struct catalog *catalog;
	struct digest digest;
	_Atomic bool stop;
};

static void *look_up(void *argument)
{
	struct race *race = argument;

	while (!atomic_load(&race->stop)) {
		struct version *version = catalog_find(race->catalog, "order", &race->digest);
		struct version_list list;

		version_put(version);
		if (catalog_list_versions(race->catalog, "order", &list) == 0)
			catalog_list_free(&list);
	}
	return NULL;
}

Test(catalog, readers_and_changes_at_once_lose_no_reference)
{
	struct race race = {.catalog = make_catalog()};
	pthread_t readers[3];
	unsigned added = 0;

	for (size_t i = 0; i < 3; i++)
		cr_assert_eq(pthread_create(&readers[i], NULL, look_up, &race), 0);
	for (unsigned i = 0; i < 2000; i++) {
		struct version *version = make_version("order", i);

		cr_assert_eq(catalog_add(race.catalog, version), 0);
		added++;
		catalog_remove(race.catalog, version, (int64_t)i);
	}
	atomic_store(&race.stop, true);
	for (size_t i = 0; i < 3; i++)
		pthread_join(readers[i], NULL);
	cr_assert_eq(atomic_load(&gone_count), (int)added);
	catalog_free(race.catalog);
}
