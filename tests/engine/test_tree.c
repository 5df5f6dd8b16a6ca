/* SPDX-License-Identifier: Apache-2.0 */
/* An index as a tree: its nodes, look-ups, and hostile shapes (a huge directory, a deep path). */
#include "engine/tree.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOT "#mtree\n. type=dir mode=0755\n"
#define HEX  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static struct tree *tree_of(const char *text)
{
	struct reason reason = {0};
	struct tree *tree = NULL;

	cr_assert_eq(tree_new(strdup(text), strlen(text), &tree, &reason), 0, "%s", reason.message);
	return tree;
}

static void expect_refused(const char *text)
{
	struct reason reason = {0};
	struct tree *tree = NULL;

	cr_expect_eq(tree_new(strdup(text), strlen(text), &tree, &reason), -EBADMSG, "%s", text);
	cr_expect_str_eq(reason.code, "index_damaged");
}

static uint32_t find(const struct tree *tree, uint32_t directory, const char *name)
{
	uint32_t number = UINT32_MAX;

	cr_assert_eq(tree_lookup(tree, directory, name, strlen(name), &number), 0, "%s", name);
	return number;
}

Test(tree, an_empty_package)
{
	struct tree *tree = tree_of(ROOT);
	const struct tree_node *root = tree_node(tree, 0);
	uint32_t number;
	char path[8] = "x";

	cr_expect_eq(tree_count(tree), 1);
	cr_expect_eq(root->kind, INDEX_DIR);
	cr_expect_eq(root->parent, 0);
	cr_expect_eq(root->name_length, 0);
	cr_expect_eq(root->child_count, 0);
	cr_expect_eq(root->directories, 0);
	cr_expect_eq(tree_lookup(tree, 0, "a", 1, &number), -ENOENT);
	cr_expect_eq(tree_path(tree, 0, path, sizeof(path)), 0);
	cr_expect_str_eq(path, "");
	tree_free(tree);
	tree_free(NULL);
}

/* In the order of paths the children of "a" stand apart: "a", "a-b", "a/c", "a0" and so on. */
static const char scattered[] = ROOT "./a type=dir mode=0755\n"
				     "./a-b type=file mode=0755 size=3 sha256=" HEX "\n"
				     "./a/c type=dir mode=0755\n"
				     "./a/c.d type=link mode=0777 link=c/\\040e\n"
				     "./a/c/\\040e type=file mode=0644 size=9 sha256=" HEX "\n"
				     "./a/d type=dir mode=0755\n"
				     "./a0 type=dir mode=0755\n";

Test(tree, children_that_stand_apart_in_the_index)
{
	struct tree *tree = tree_of(scattered);
	static const char *const of_root[] = {"a", "a-b", "a0"};
	static const char *const of_a[] = {"c", "c.d", "d"};
	const struct tree_node *root = tree_node(tree, 0), *a = tree_node(tree, 1);

	cr_expect_eq(tree_count(tree), 8);
	cr_assert_eq(root->child_count, 3);
	cr_expect_eq(root->directories, 2);
	cr_assert_eq(a->child_count, 3);
	cr_expect_eq(a->directories, 2);
	for (uint32_t i = 0; i < 3; i++) {
		const struct tree_node *node = tree_node(tree, tree_child(tree, root, i));

		cr_expect_eq(node->parent, 0);
		cr_expect_eq(node->name_length, strlen(of_root[i]));
		cr_expect_arr_eq(node->name, of_root[i], strlen(of_root[i]));
		node = tree_node(tree, tree_child(tree, a, i));
		cr_expect_eq(node->parent, 1);
		cr_expect_eq(node->name_length, strlen(of_a[i]));
		cr_expect_arr_eq(node->name, of_a[i], strlen(of_a[i]));
	}
	tree_free(tree);
}

Test(tree, what_a_node_says)
{
	struct tree *tree = tree_of(scattered);
	uint32_t a = find(tree, 0, "a"), c = find(tree, a, "c");
	const struct tree_node *node = tree_node(tree, find(tree, 0, "a-b"));
	char hex[DIGEST_HEX + 1];

	cr_expect_eq(node->kind, INDEX_FILE);
	cr_expect(node->executable);
	cr_expect_eq(node->size, 3);
	cr_expect_str_eq(digest_hex(&node->digest, hex), HEX);
	node = tree_node(tree, find(tree, c, " e"));
	cr_expect_eq(node->kind, INDEX_FILE);
	cr_expect_not(node->executable);
	cr_expect_eq(node->size, 9);
	node = tree_node(tree, find(tree, a, "c.d"));
	cr_expect_eq(node->kind, INDEX_LINK);
	cr_expect_eq(node->target_length, 4);
	cr_expect_arr_eq(node->target, "c/ e", 4);
	tree_free(tree);
}

Test(tree, lookups_that_fail)
{
	struct tree *tree = tree_of(scattered);
	uint32_t number, a = find(tree, 0, "a");

	cr_expect_eq(tree_lookup(tree, 0, "", 0, &number), -ENOENT);
	cr_expect_eq(tree_lookup(tree, 0, "a-", 2, &number), -ENOENT);
	cr_expect_eq(tree_lookup(tree, 0, "a-bc", 4, &number), -ENOENT);
	cr_expect_eq(tree_lookup(tree, 0, "a/c", 3, &number), -ENOENT);
	cr_expect_eq(tree_lookup(tree, 0, "zzz", 3, &number), -ENOENT);
	cr_expect_eq(tree_lookup(tree, a, "a", 1, &number), -ENOENT);
	cr_expect_eq(tree_lookup(tree, find(tree, 0, "a0"), "c", 1, &number), -ENOENT);
	cr_expect_eq(tree_lookup(tree, find(tree, 0, "a-b"), "c", 1, &number), -ENOTDIR);
	cr_expect_eq(tree_lookup(tree, find(tree, a, "c.d"), "e", 1, &number), -ENOTDIR);
	tree_free(tree);
}

Test(tree, paths)
{
	struct tree *tree = tree_of(scattered);
	uint32_t e = find(tree, find(tree, find(tree, 0, "a"), "c"), " e");
	char path[16];

	cr_expect_eq(tree_path(tree, e, path, sizeof(path)), 6);
	cr_expect_str_eq(path, "a/c/ e");
	cr_expect_eq(tree_path(tree, e, path, 7), 6);
	cr_expect_str_eq(path, "a/c/ e");
	cr_expect_eq(tree_path(tree, e, path, 4), 6);
	cr_expect_str_eq(path, "/ e");
	cr_expect_eq(tree_path(tree, e, path, 1), 6);
	cr_expect_str_eq(path, "");
	cr_expect_eq(tree_path(tree, e, NULL, 0), 6);
	tree_free(tree);
}

Test(tree, refuses_an_entry_without_its_directory)
{
	expect_refused("");
	expect_refused("#mtree\n");
	expect_refused(ROOT "./a/b type=dir mode=0755\n");
	expect_refused(ROOT "./a type=dir mode=0755\n./a/b/c type=dir mode=0755\n");
	expect_refused(ROOT "./a type=link mode=0777 link=b\n./a/b type=dir mode=0755\n");
	expect_refused(ROOT "./a type=file mode=0644 size=0 sha256=" HEX "\n"
			    "./a/b type=dir mode=0755\n");
	expect_refused(ROOT "./a- type=dir mode=0755\n./a/b type=dir mode=0755\n");
	expect_refused(ROOT "./b type=dir mode=0755\n./a type=dir mode=0755\n");
}

Test(tree, a_hundred_thousand_names_in_one_directory)
{
	enum { COUNT = 100000 };
	size_t room = 64 + COUNT * 32u, length;
	char *text = malloc(room), name[16];
	struct tree *tree;

	cr_assert(text);
	length = (size_t)snprintf(text, room, "%s", ROOT);
	for (int i = 0; i < COUNT; i++)
		length += (size_t)snprintf(text + length, room - length,
					   "./n%06d type=dir mode=0755\n", i);
	cr_assert_eq(tree_new(text, length, &tree, NULL), 0);
	cr_expect_eq(tree_count(tree), COUNT + 1);
	cr_expect_eq(tree_node(tree, 0)->directories, COUNT);
	for (uint32_t i = 0; i < COUNT; i += 997) {
		snprintf(name, sizeof(name), "n%06u", i);
		cr_expect_eq(find(tree, 0, name), i + 1);
	}
	/* At most about a hundred bytes for each node beside its text. */
	cr_expect_leq(tree_memory(tree) - length, (COUNT + 1) * 112u);
	tree_free(tree);
}

Test(tree, a_path_of_two_thousand_directories)
{
	enum { DEPTH = 2047 };
	size_t room = 64 + DEPTH * (2 * DEPTH + 32u), length;
	char *text = malloc(room), path[INDEX_PATH_MAX + 1];
	struct tree *tree;
	uint32_t number = 0;

	cr_assert(text);
	length = (size_t)snprintf(text, room, "%s", ROOT);
	for (size_t depth = 1; depth <= DEPTH; depth++) {
		text[length++] = '.';
		for (size_t i = 0; i < depth; i++) {
			text[length++] = '/';
			text[length++] = 'd';
		}
		length += (size_t)snprintf(text + length, room - length, " type=dir mode=0755\n");
	}
	cr_assert_eq(tree_new(text, length, &tree, NULL), 0);
	for (size_t depth = 0; depth < DEPTH; depth++)
		number = find(tree, number, "d");
	cr_expect_eq(number, DEPTH);
	cr_expect_eq(tree_path(tree, number, path, sizeof(path)), 2 * DEPTH - 1);
	tree_free(tree);
}
