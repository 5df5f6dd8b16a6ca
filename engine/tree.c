/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An index as a tree. Nodes stand in the order of the index; the children of each directory stand
 * together in a second array, in the order of names: the index is sorted by path, so among the children
 * of one directory the order of paths is the order of names.
 *
 * Invariant: a parent's number is below its children's. Work is n log n, whatever the names are.
 */
#include "engine/tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct tree {
	char *text; /* names and targets point into it */
	size_t text_length;
	struct tree_node *nodes;
	uint32_t *children;
	uint32_t count, room;
};

/* Only while it is made: the whole path of each node. */
struct paths {
	const char **starts;
	uint16_t *lengths;
};

static int grow(struct tree *tree, struct paths *paths)
{
	uint32_t wanted = tree->room ? tree->room * 2 : 64;
	struct tree_node *nodes;
	const char **starts;
	uint16_t *lengths;

	if (tree->count < tree->room)
		return 0;
	if (wanted < tree->room)
		return -EFBIG;
	nodes = realloc(tree->nodes, wanted * sizeof(*nodes));
	if (!nodes)
		return -ENOMEM;
	tree->nodes = nodes;
	starts = realloc(paths->starts, wanted * sizeof(*starts));
	if (!starts)
		return -ENOMEM;
	paths->starts = starts;
	lengths = realloc(paths->lengths, wanted * sizeof(*lengths));
	if (!lengths)
		return -ENOMEM;
	paths->lengths = lengths;
	tree->room = wanted;
	return 0;
}

static int compare(const char *a, size_t a_length, const char *b, size_t b_length)
{
	int order = memcmp(a, b, a_length < b_length ? a_length : b_length);

	if (order)
		return order;
	return a_length < b_length ? -1 : a_length > b_length;
}

/* The node with that path among those read so far, or UINT32_MAX. */
static uint32_t find_path(const struct tree *tree, const struct paths *paths, const char *path,
			  size_t length)
{
	uint32_t low = 0, high = tree->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = compare(paths->starts[middle], paths->lengths[middle], path, length);

		if (order == 0)
			return middle;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return UINT32_MAX;
}

static int add_node(struct tree *tree, struct paths *paths, const struct index_entry *entry,
		    struct reason *reason)
{
	const char *slash = memrchr(entry->path, '/', entry->path_length);
	size_t parent_length = slash ? (size_t)(slash - entry->path) : 0;
	struct tree_node *node;
	uint32_t parent = 0;
	int error = grow(tree, paths);

	if (error)
		return error;
	if (tree->count > 0) {
		parent = find_path(tree, paths, entry->path, parent_length);
		if (parent == UINT32_MAX || tree->nodes[parent].kind != INDEX_DIR)
			return reason_set(reason, EBADMSG, "index_damaged",
					  "entry %u of the index has no parent directory",
					  tree->count);
		tree->nodes[parent].child_count++;
		tree->nodes[parent].directories += entry->kind == INDEX_DIR;
	}
	paths->starts[tree->count] = entry->path;
	paths->lengths[tree->count] = (uint16_t)entry->path_length;
	node = &tree->nodes[tree->count++];
	*node = (struct tree_node){
		.name = slash ? slash + 1 : entry->path,
		.name_length = (uint16_t)(entry->path_length - (slash ? parent_length + 1 : 0)),
		.target = entry->target,
		.target_length = (uint16_t)entry->target_length,
		.size = entry->size,
		.digest = entry->digest,
		.parent = parent,
		.kind = (uint8_t)entry->kind,
		.executable = entry->executable,
	};
	return 0;
}

/* Gives each directory its stretch of the child array, then fills the stretches in order. */
static int link_children(struct tree *tree)
{
	uint32_t next = 0;

	tree->children = malloc(tree->count * sizeof(*tree->children));
	if (!tree->children)
		return -ENOMEM;
	for (uint32_t i = 0; i < tree->count; i++) {
		tree->nodes[i].first_child = next;
		next += tree->nodes[i].child_count;
		tree->nodes[i].child_count = 0;
	}
	for (uint32_t i = 1; i < tree->count; i++) {
		struct tree_node *parent = &tree->nodes[tree->nodes[i].parent];

		tree->children[parent->first_child + parent->child_count++] = i;
	}
	return 0;
}

static int read_nodes(struct tree *tree, struct paths *paths, struct reason *reason)
{
	struct index_reader reader;
	struct index_entry entry;
	int result = index_reader_open(&reader, tree->text, tree->text_length, reason);

	if (result)
		return result;
	while ((result = index_reader_next(&reader, &entry, reason)) == 1) {
		result = add_node(tree, paths, &entry, reason);
		if (result)
			return result;
	}
	return result;
}

static void shrink(struct tree *tree)
{
	struct tree_node *nodes = realloc(tree->nodes, tree->count * sizeof(*nodes));

	if (nodes) {
		tree->nodes = nodes;
		tree->room = tree->count;
	}
}

int tree_new(char *text, size_t length, struct tree **ret_tree, struct reason *reason)
{
	struct tree *tree = calloc(1, sizeof(*tree));
	struct paths paths = {0};
	int error;

	if (!tree) {
		free(text);
		return -ENOMEM;
	}
	tree->text = text;
	tree->text_length = length;
	error = read_nodes(tree, &paths, reason);
	if (!error)
		error = link_children(tree);
	free(paths.starts);
	free(paths.lengths);
	if (error) {
		tree_free(tree);
		return error;
	}
	shrink(tree);
	*ret_tree = tree;
	return 0;
}

void tree_free(struct tree *tree)
{
	if (!tree)
		return;
	free(tree->text);
	free(tree->nodes);
	free(tree->children);
	free(tree);
}

uint32_t tree_count(const struct tree *tree)
{
	return tree->count;
}

size_t tree_memory(const struct tree *tree)
{
	return sizeof(*tree) + tree->text_length +
	       tree->room * (sizeof(struct tree_node) + sizeof(uint32_t));
}

const struct tree_node *tree_node(const struct tree *tree, uint32_t number)
{
	return &tree->nodes[number];
}

uint32_t tree_child(const struct tree *tree, const struct tree_node *directory, uint32_t position)
{
	return tree->children[directory->first_child + position];
}

int tree_lookup(const struct tree *tree, uint32_t directory, const char *name, size_t length,
		uint32_t *ret_number)
{
	const struct tree_node *parent = &tree->nodes[directory];
	uint32_t low = 0, high = parent->child_count;

	if (parent->kind != INDEX_DIR)
		return -ENOTDIR;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		uint32_t number = tree_child(tree, parent, middle);
		const struct tree_node *node = &tree->nodes[number];
		int order = compare(node->name, node->name_length, name, length);

		if (order == 0) {
			*ret_number = number;
			return 0;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return -ENOENT;
}

size_t tree_path(const struct tree *tree, uint32_t number, char *path, size_t size)
{
	const struct tree_node *node = &tree->nodes[number];
	/* A path stands whole in the text: the name is its end. */
	const char *end = node->name + node->name_length, *begin = node->name;
	uint32_t parent = node->parent;
	size_t length, cut;

	for (; parent != 0; parent = tree->nodes[parent].parent)
		begin -= tree->nodes[parent].name_length + 1u;
	length = (size_t)(end - begin);
	if (size > 0) {
		cut = length < size ? 0 : length - (size - 1);
		memcpy(path, begin + cut, length - cut);
		path[length - cut] = '\0';
	}
	return length;
}
