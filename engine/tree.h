/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_TREE_H
#define ENGINE_TREE_H

#include "engine/index.h"

/*
 * A parsed index as a tree that can be walked. Immutable once made, so any number of threads may read
 * it. Node numbers are the entries' positions in the index, the root is 0.
 */
struct tree;

struct tree_node {
	const char *name; /* raw bytes, not NUL-terminated; the root's is "" */
	const char *target;
	uint64_t size;
	struct digest digest;
	uint32_t parent; /* the root is its own */
	uint32_t first_child, child_count; /* into the child array, see tree_child */
	uint32_t directories;		   /* how many children are directories, for st_nlink */
	uint16_t name_length, target_length;
	uint8_t kind; /* enum index_kind */
	bool executable;
};

/*
 * Makes a tree of an index. Takes over `text` (malloc'ed) on success and on failure.
 * Returns -EBADMSG index_damaged (not canonical, a parent is missing or is no directory), -ENOMEM.
 */
int tree_new(char *text, size_t length, struct tree **ret_tree, struct reason *reason);
void tree_free(struct tree *tree);

/* How many nodes, the root included. */
uint32_t tree_count(const struct tree *tree);

/* How many bytes of memory it takes, for a cache's budget. */
size_t tree_memory(const struct tree *tree);

/* A node by number, which must be below tree_count. */
const struct tree_node *tree_node(const struct tree *tree, uint32_t number);

/* The number of a directory's child by position, in the order of names; below child_count. */
uint32_t tree_child(const struct tree *tree, const struct tree_node *directory, uint32_t position);

/* Finds a name in a directory. Returns -ENOENT, -ENOTDIR. */
int tree_lookup(const struct tree *tree, uint32_t directory, const char *name, size_t length,
		uint32_t *ret_number);

/*
 * Writes the path of a node ("bin/run", "" for the root), NUL-terminated, cut at its front when `size`
 * does not suffice. Returns its whole length.
 */
size_t tree_path(const struct tree *tree, uint32_t number, char *path, size_t size);

#endif
