/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The numbering: ids name what they were made for, the table holds what the kernel holds, and no
 * more.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "fs/node.h"

static struct node_table *table;

static void set_up(void)
{
	table = node_table_new();
	cr_assert_not_null(table);
}

static void tear_down(void)
{
	node_table_free(table);
}

TestSuite(node, .init = set_up, .fini = tear_down);

static struct node resolve(uint64_t id)
{
	struct node node;

	node_resolve(table, id, &node);
	return node;
}

Test(node, an_entry_s_id_gives_slot_and_number_back)
{
	static const uint32_t slots[] = {1, 77, 0x0fffffff};
	static const uint32_t numbers[] = {0, 1, 999999, UINT32_MAX};

	for (size_t i = 0; i < 3; i++) {
		for (size_t j = 0; j < 4; j++) {
			struct node node = resolve(node_of_entry(slots[i], numbers[j]));

			cr_assert_eq(node.kind, NODE_ENTRY);
			cr_assert_eq(node.slot, slots[i]);
			cr_assert_eq(node.entry, numbers[j]);
		}
	}
}

Test(node, archives_and_indexes_are_told_apart)
{
	cr_assert_eq(resolve(node_of_archive(5)).kind, NODE_ARCHIVE);
	cr_assert_eq(resolve(node_of_index(5)).kind, NODE_INDEX);
	cr_assert_eq(resolve(node_of_archive(5)).slot, 5);
	cr_assert_neq(node_of_archive(5), node_of_index(5));
	cr_assert_neq(node_of_archive(5), node_of_entry(5, 0));
}

Test(node, small_ids_are_the_names_that_are_always_there)
{
	for (uint64_t id = FIXED_ROOT; id < FIXED_END; id++) {
		cr_assert_eq(resolve(id).kind, NODE_FIXED);
		cr_assert_eq((uint64_t)resolve(id).fixed, id);
	}
	cr_assert_eq(resolve(0).kind, NODE_INVALID);
	cr_assert_eq(resolve(FIXED_END).kind, NODE_INVALID);
}

Test(node, ids_that_nobody_gave_out_are_invalid)
{
	cr_assert_eq(resolve(UINT64_MAX).kind, NODE_INVALID);
	cr_assert_eq(resolve((uint64_t)NODE_NAMED << 60 | 12345).kind, NODE_INVALID);
	cr_assert_eq(resolve(1ull << 40).kind, NODE_INVALID);
}

Test(node, a_name_keeps_its_id_while_it_is_looked_up)
{
	uint64_t id = node_get(table, PLACE_DEPLOY, "order.tar");
	struct node node = resolve(id);

	cr_assert_eq(node_get(table, PLACE_DEPLOY, "order.tar"), id);
	cr_assert_eq(node.kind, NODE_NAMED);
	cr_assert_eq(node.place, PLACE_DEPLOY);
	cr_assert_str_eq(node.name, "order.tar");
	cr_assert_neq(node_get(table, PLACE_STAGE, "order.tar"), id);
	cr_assert_eq(node_table_count(table), 2);
}

Test(node, a_forgotten_name_leaves_nothing_and_its_id_is_not_used_again)
{
	uint64_t id = node_get(table, PLACE_ROUTES, "order");

	node_get(table, PLACE_ROUTES, "order");
	node_forget(table, id, 1);
	cr_assert_eq(resolve(id).kind, NODE_NAMED);
	node_forget(table, id, 1);
	cr_assert_eq(resolve(id).kind, NODE_INVALID);
	cr_assert_eq(node_table_count(table), 0);
	cr_assert_neq(node_get(table, PLACE_ROUTES, "order"), id);
}

Test(node, a_retired_name_gives_way_to_another_with_its_text)
{
	uint64_t old = node_get(table, PLACE_RUN, "42"), new;

	node_retire(table, PLACE_RUN, "42");
	node_retire(table, PLACE_RUN, "never there");
	cr_assert_eq(resolve(old).kind, NODE_NAMED);
	new = node_get(table, PLACE_RUN, "42");
	cr_assert_neq(new, old);
	for (int i = 0; i < 2000; i++) {
		char name[32];

		snprintf(name, sizeof(name), "other-%d", i);
		node_get(table, PLACE_RUN, name);
	}
	cr_assert_eq(node_get(table, PLACE_RUN, "42"), new);
	node_forget(table, old, 1);
	cr_assert_eq(resolve(old).kind, NODE_INVALID);
	node_forget(table, new, 2);
	cr_assert_eq(resolve(new).kind, NODE_INVALID);
	cr_assert_eq(node_table_count(table), 2000);
}

Test(node, too_many_forgets_do_no_harm)
{
	uint64_t id = node_get(table, PLACE_ROUTES, "order");

	node_forget(table, id, UINT64_MAX);
	node_forget(table, id, 1);
	node_forget(table, FIXED_ROOT, 1);
	node_forget(table, node_of_entry(1, 1), 1);
	cr_assert_eq(node_table_count(table), 0);
}

Test(node, many_names_grow_the_table_and_all_go)
{
	static uint64_t ids[5000];
	char name[32];

	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "name-%d", i);
		ids[i] = node_get(table, PLACE_DEPLOY, name);
		cr_assert_neq(ids[i], 0);
	}
	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "name-%d", i);
		cr_assert_str_eq(resolve(ids[i]).name, name);
	}
	for (int i = 0; i < 5000; i++)
		node_forget(table, ids[i], 1);
	cr_assert_eq(node_table_count(table), 0);
}

Test(node, a_name_that_is_too_long_gets_no_id)
{
	char name[NODE_TEXT_MAX + 2];

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	cr_assert_eq(node_get(table, PLACE_DAMAGE, name), 0);
	name[NODE_TEXT_MAX] = '\0';
	cr_assert_neq(node_get(table, PLACE_DAMAGE, name), 0);
}

Test(inode, numbers_depend_on_what_they_name_alone)
{
	struct digest one = {{1}}, two = {{2}};

	cr_assert_eq(inode_of_entry(&one, 7), inode_of_entry(&one, 7));
	cr_assert_neq(inode_of_entry(&one, 7), inode_of_entry(&two, 7));
	cr_assert_neq(inode_of_entry(&one, 7), inode_of_entry(&one, 8));
	for (uint32_t entry = 0; entry < 10; entry++) {
		cr_assert_neq(inode_of_entry(&one, entry), inode_of_archive(&one));
		cr_assert_neq(inode_of_entry(&one, entry), inode_of_index(&one));
	}
	cr_assert_neq(inode_of_archive(&one), inode_of_index(&one));
	cr_assert_eq(inode_of_name(PLACE_DEPLOY, "a"), inode_of_name(PLACE_DEPLOY, "a"));
	cr_assert_neq(inode_of_name(PLACE_DEPLOY, "a"), inode_of_name(PLACE_STAGE, "a"));
	cr_assert_eq(inode_of_fixed(FIXED_ROOT), 1);
	cr_assert_neq(inode_of_fixed(FIXED_LOG), inode_of_fixed(FIXED_STATUS));
}
