/* SPDX-License-Identifier: Apache-2.0 */
/* The quarantine: names out of damaged keys, texts that grow but not without end, removal. */
#include "engine/quarantine.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct engine *make_engine(void)
{
	struct engine *engine = calloc(1, sizeof(*engine));

	cr_assert_not_null(engine);
	engine->quarantine = quarantine_new();
	cr_assert_not_null(engine->quarantine);
	return engine;
}

static void free_engine(struct engine *engine)
{
	quarantine_free(engine->quarantine);
	free(engine);
}

static void add(struct engine *engine, const char *type, const char *name, const char *message)
{
	struct reason reason = {0};

	reason_set(&reason, EBADMSG, "row_damaged", "%s", message);
	quarantine_add(engine, type, name, &reason);
}

Test(quarantine, says_what_is_wrong_with_which_version)
{
	struct engine *engine = make_engine();
	int64_t at_ns;
	size_t length;
	char *text;

	add(engine, "order", "abc", "its checksum is wrong");
	cr_assert(quarantine_has_type(engine, "order"));
	cr_assert_not(quarantine_has_type(engine, "orde"));
	cr_assert_eq(quarantine_get(engine, "order", "abc", &text, &length, &at_ns), 0);
	cr_assert_str_eq(text, "row_damaged: its checksum is wrong\n");
	cr_assert_eq(length, strlen(text));
	cr_assert_gt(at_ns, 0);
	free(text);
	cr_assert_eq(quarantine_get(engine, "order", "abd", &text, &length, &at_ns), -ENOENT);
	free_engine(engine);
}

Test(quarantine, a_finding_is_told_once_and_others_are_added)
{
	struct engine *engine = make_engine();
	int64_t at_ns;
	size_t length;
	char *text;

	add(engine, "order", "abc", "one");
	add(engine, "order", "abc", "one");
	add(engine, "order", "abc", "two");
	cr_assert_eq(quarantine_get(engine, "order", "abc", &text, &length, &at_ns), 0);
	cr_assert_str_eq(text, "row_damaged: one\nrow_damaged: two\n");
	free(text);
	for (int i = 0; i < 20000; i++) {
		char message[32];

		snprintf(message, sizeof(message), "finding %d", i);
		add(engine, "order", "abc", message);
		if (i == 5000)
			i = 19990;
	}
	cr_assert_eq(quarantine_get(engine, "order", "abc", &text, &length, &at_ns), 0);
	cr_assert_leq(length, 65536);
	free(text);
	cr_assert_eq(quarantine_count(engine), 1);
	free_engine(engine);
}

Test(quarantine, names_of_damaged_keys_become_file_names)
{
	struct engine *engine = make_engine();
	struct name_list list;

	add(engine, "", "a/b", "x");
	add(engine, "..", ".hidden", "x");
	add(engine, "\x01\xff", "ok", "x");
	cr_assert_eq(quarantine_list_types(engine, &list), 0);
	cr_assert_eq(list.count, 3);
	for (size_t i = 0; i < list.count; i++) {
		cr_assert_neq(list.names[i][0], '.');
		cr_assert_null(strchr(list.names[i], '/'));
		cr_assert_neq(list.names[i][0], '\0');
	}
	free(list.names);
	cr_assert_eq(quarantine_list(engine, "_", &list), 0);
	cr_assert_eq(list.count, 1);
	cr_assert_str_eq(list.names[0], "a_b");
	free(list.names);
	free_engine(engine);
}

Test(quarantine, a_repaired_version_leaves_it)
{
	struct engine *engine = make_engine();

	add(engine, "order", "abc", "one");
	add(engine, "order", "abd", "one");
	cr_assert(quarantine_remove(engine, "order", "abc"));
	cr_assert_not(quarantine_remove(engine, "order", "abc"));
	cr_assert(quarantine_has(engine, "order", "abd"));
	cr_assert(quarantine_remove(engine, "order", "abd"));
	cr_assert_not(quarantine_has_type(engine, "order"));
	cr_assert_eq(quarantine_count(engine), 0);
	free_engine(engine);
}
