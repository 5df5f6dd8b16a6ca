/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns directories that are read. Under a version the offset of an entry is its place in the index,
 * so nothing is remembered between two reads. Elsewhere the names are taken down when a read begins
 * at the start, and an entry that went away meanwhile is passed over.
 */
#include "fs/listing.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#include "fs/entry.h"
#include "fs/handle.h"
#include "fs/package.h"
#include "fs/rundir.h"

#define DOTS 2 /* the offsets of "." and ".." */

int listing_add(struct listing *listing, const char *name)
{
	char *copy;

	if (listing->count == listing->room) {
		size_t room = listing->room ? listing->room * 2 : 32;
		char **names = realloc(listing->names, room * sizeof(*names));

		if (!names)
			return -ENOMEM;
		listing->names = names;
		listing->room = room;
	}
	copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	listing->names[listing->count++] = copy;
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void listing_sort(struct listing *listing)
{
	size_t kept = 0;

	if (listing->count == 0)
		return;
	qsort(listing->names, listing->count, sizeof(*listing->names), compare_names);
	for (size_t i = 1; i < listing->count; i++) {
		if (strcmp(listing->names[i], listing->names[kept]) == 0)
			free(listing->names[i]);
		else
			listing->names[++kept] = listing->names[i];
	}
	listing->count = kept + 1;
}

void listing_clear(struct listing *listing)
{
	for (size_t i = 0; i < listing->count; i++)
		free(listing->names[i]);
	free(listing->names);
	memset(listing, 0, sizeof(*listing));
}

/* What goes into one answer. */
struct page {
	struct call *call;
	char *buffer;
	size_t size, used;
	bool plus;
};

/* Returns whether it had room. */
static bool page_add(struct page *page, const char *name, const struct fuse_entry_param *entry,
		     off_t next)
{
	char *at = page->buffer + page->used;
	size_t left = page->size - page->used, needed;

	if (page->plus)
		needed = fuse_add_direntry_plus(page->call->request, at, left, name, entry, next);
	else
		needed = fuse_add_direntry(page->call->request, at, left, name, &entry->attr, next);
	if (needed > left)
		return false;
	page->used += needed;
	return true;
}

/* "." and ".." have no look-up counted: an entry with node id 0 tells the kernel so. */
static bool page_add_dots(struct page *page, const struct fuse_entry_param *self, off_t *offset)
{
	static const char *const dots[DOTS] = {".", ".."};
	struct fuse_entry_param entry = *self;

	entry.ino = 0;
	while (*offset < DOTS) {
		if (!page_add(page, dots[*offset], &entry, *offset + 1))
			return false;
		(*offset)++;
	}
	return true;
}

static int fill_from_package(struct page *page, const struct node *node, off_t offset)
{
	struct call *call = page->call;
	struct fuse_entry_param entry;
	char name[INDEX_NAME_MAX + 1];
	struct package package;
	int r = package_open(call, node, true, &package);

	if (r < 0)
		return r;
	if (package.node->kind != INDEX_DIR) {
		package_close(call, &package);
		return -ENOTDIR;
	}
	package_describe(call->fs, &package, package.number, &entry);
	if (page_add_dots(page, &entry, &offset)) {
		for (uint64_t i = (uint64_t)offset - DOTS; i < package.node->child_count; i++) {
			uint32_t number = tree_child(package.tree, package.node, (uint32_t)i);
			const struct tree_node *child = tree_node(package.tree, number);

			memcpy(name, child->name, child->name_length);
			name[child->name_length] = '\0';
			package_describe(call->fs, &package, number, &entry);
			if (!page_add(page, name, &entry, (off_t)(i + DOTS + 1)))
				break;
		}
	}
	package_close(call, &package);
	return 0;
}

/* Returns 1 when the page is full, 0 otherwise, also for a name that is gone; or an errno. */
static int add_by_name(struct page *page, const struct node *parent, const char *name, off_t next)
{
	struct call *call = page->call;
	struct fuse_entry_param entry;
	struct node child;
	int r = entry_child(call, parent, name, &child);

	if (r == 0)
		r = entry_describe(call, &child, &entry);
	if (r == 0 && page->plus)
		r = entry_count(call->fs, &child, &entry);
	if (r == -EAGAIN && !call->may_block)
		return r;
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	if (page_add(page, name, &entry, next))
		return 0;
	if (page->plus)
		node_forget(call->fs->nodes, entry.ino, 1);
	return 1;
}

/* Gives the look-ups back that a page which did not reach the kernel had counted. */
static void forget_page(struct page *page)
{
	size_t at = 0;

	while (page->plus && at + FUSE_NAME_OFFSET_DIRENTPLUS < page->used) {
		const struct fuse_direntplus *entry = (const void *)(page->buffer + at);

		node_forget(page->call->fs->nodes, entry->entry_out.nodeid, 1);
		at += FUSE_DIRENTPLUS_SIZE(entry);
	}
}

static int fill_from_listing(struct page *page, const struct node *node, struct handle *handle,
			     off_t offset)
{
	struct listing *listing = &handle->listing;
	struct fuse_entry_param entry;
	int r = 0;

	if (offset == 0) {
		listing_clear(listing);
		r = entry_list(page->call, node, listing);
		if (r < 0)
			return r;
	}
	r = entry_describe(page->call, node, &entry);
	if (r < 0 || !page_add_dots(page, &entry, &offset))
		return r == -ENOENT || r == -ESTALE ? 0 : r;
	for (uint64_t i = (uint64_t)offset - DOTS; i < listing->count && r == 0; i++)
		r = add_by_name(page, node, listing->names[i], (off_t)(i + DOTS + 1));
	return r < 0 ? r : 0;
}

static int read_page(struct call *call, bool plus)
{
	struct handle *handle = handle_of(&call->file);
	struct page page = {.call = call, .size = call->size, .plus = plus};
	struct node node;
	int r;

	page.buffer = calloc(1, call->size ? call->size : 1);
	if (!page.buffer)
		return -ENOMEM;
	node_resolve(call->fs->nodes, call->node, &node);
	pthread_mutex_lock(&handle->lock);
	if (handle->kind == HANDLE_TREE)
		r = fill_from_package(&page, &node, call->offset);
	else
		r = fill_from_listing(&page, &node, handle, call->offset);
	pthread_mutex_unlock(&handle->lock);
	if (r < 0 || fuse_reply_buf(call->request, page.buffer, page.used) < 0)
		forget_page(&page);
	free(page.buffer);
	return r;
}

int listing_read(struct call *call)
{
	return read_page(call, false);
}

int listing_read_plus(struct call *call)
{
	return read_page(call, true);
}

/* A directory of a version, with the kernel's leave to keep what it reads. */
static int open_package(struct call *call, const struct node *node)
{
	struct package package;
	struct handle *handle;
	bool is_directory;
	int r = package_open(call, node, false, &package);

	if (r < 0)
		return r;
	is_directory = package.node->kind == INDEX_DIR;
	handle = is_directory ? handle_new(call->fs, HANDLE_TREE) : NULL;
	if (handle)
		handle->version = version_get(package.version);
	package_close(call, &package);
	if (!handle)
		return is_directory ? -ENOMEM : -ENOTDIR;
	call->file.fh = (uintptr_t)handle;
	call->file.cache_readdir = 1;
	call->file.keep_cache = 1;
	return 0;
}

static int open_listing(struct call *call, const struct node *node)
{
	struct fuse_entry_param entry;
	struct handle *handle;
	int r = rundir_check(call, node);

	if (r == 0)
		r = entry_describe_known(call, node, &entry);
	if (r < 0)
		return r;
	handle = handle_new(call->fs, HANDLE_LISTING);
	call->file.fh = (uintptr_t)handle;
	return handle ? 0 : -ENOMEM;
}

int listing_open(struct call *call)
{
	struct node node;
	int r = 0;

	node_resolve(call->fs->nodes, call->node, &node);
	if (node.kind == NODE_ENTRY) {
		r = open_package(call, &node);
	} else if (node.kind == NODE_INVALID) {
		r = -ESTALE;
	} else {
		r = open_listing(call, &node);
	}
	if (r < 0)
		return r;
	if (fuse_reply_open(call->request, &call->file) < 0)
		handle_put(call->fs, handle_of(&call->file));
	return 0;
}
