/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the map of the tree: which names a directory has, and what stands behind each. The parts
 * that are more than names (packages, drop boxes, routes, runs) describe their own entries. What a
 * name is like is a table by the place that it is in.
 *
 * What the kernel may keep: everything under a version, what an archive or an index is, and the
 * names on the way to a version, so that opening a file there is one request. A type that lost its
 * last version is told to the kernel as -ESTALE when it asks about it: it then looks the name up
 * again. Other names that can come, go or change meaning are asked for each time.
 */
#include "fs/entry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/log.h"
#include "engine/quarantine.h"
#include "engine/receipt.h"
#include "fs/archive.h"
#include "fs/attr.h"
#include "fs/dropbox.h"
#include "fs/package.h"
#include "fs/routes.h"
#include "fs/rundir.h"
#include "fs/startbox.h"
#include "fs/text.h"

static const struct {
	const char *name;
	enum node_fixed fixed;
} top[] = {
	{"README", FIXED_README},
	{"deploy", FIXED_DEPLOY},
	{"stage", FIXED_STAGE},
	{"packages", FIXED_PACKAGES},
	{"archives", FIXED_ARCHIVES},
	{"indexes", FIXED_INDEXES},
	{"routes", FIXED_ROUTES},
	{"quarantine", FIXED_QUARANTINE},
	{"start", FIXED_START},
	{"runs", FIXED_RUNS},
	{"by-status", FIXED_BY_STATUS},
	{"log", FIXED_LOG},
	{"status", FIXED_STATUS},
	{"metrics", FIXED_METRICS},
};

static int child_of_root(const char *name, struct node *ret_child)
{
	for (size_t i = 0; i < sizeof(top) / sizeof(top[0]); i++) {
		if (strcmp(top[i].name, name) == 0) {
			ret_child->kind = NODE_FIXED;
			ret_child->fixed = top[i].fixed;
			return 0;
		}
	}
	return -ENOENT;
}

static int named(enum place place, const char *name, struct node *ret_child)
{
	if (strlen(name) > NODE_NAME_MAX)
		return -ENAMETOOLONG;
	ret_child->kind = NODE_NAMED;
	ret_child->place = place;
	strcpy(ret_child->name, name);
	return 0;
}

static int child_of_fixed(struct call *call, const struct node *parent, const char *name,
			  struct node *ret_child)
{
	switch (parent->fixed) {
	case FIXED_ROOT:
		return child_of_root(name, ret_child);
	case FIXED_DEPLOY:
		return named(PLACE_DEPLOY, name, ret_child);
	case FIXED_STAGE:
		return named(PLACE_STAGE, name, ret_child);
	case FIXED_PACKAGES:
		return named(PLACE_PACKAGES, name, ret_child);
	case FIXED_ARCHIVES:
		return named(PLACE_ARCHIVES, name, ret_child);
	case FIXED_INDEXES:
		return named(PLACE_INDEXES, name, ret_child);
	case FIXED_ROUTES:
		return named(PLACE_ROUTES, name, ret_child);
	case FIXED_QUARANTINE:
		return named(PLACE_QUARANTINE, name, ret_child);
	case FIXED_START:
		return startbox_child(call, parent, name, ret_child);
	case FIXED_RUNS:
	case FIXED_BY_STATUS:
		return rundir_child(call, parent, name, ret_child);
	case FIXED_README:
	case FIXED_LOG:
	case FIXED_STATUS:
	case FIXED_METRICS:
	case FIXED_ECHO:
	case FIXED_END:
		break;
	}
	return -ENOTDIR;
}

/* VERSION, VERSION.tar or VERSION.mtree, of a type. */
static int child_of_type(struct call *call, const struct node *parent, const char *name,
			 const char *suffix, enum node_kind kind, struct node *ret_child)
{
	struct version *version;
	struct digest digest;

	if (strlen(name) != DIGEST_HEX + strlen(suffix) || strcmp(name + DIGEST_HEX, suffix) != 0 ||
	    digest_parse(name, DIGEST_HEX, &digest) < 0)
		return -ENOENT;
	version = catalog_find(call->fs->engine->catalog, parent->name, &digest);
	if (!version)
		return -ENOENT;
	ret_child->kind = kind;
	ret_child->slot = version->slot;
	ret_child->entry = 0;
	version_put(version);
	return 0;
}

static int child_of_packages(struct call *call, const struct node *parent, const char *name,
			     struct node *ret_child)
{
	return child_of_type(call, parent, name, "", NODE_ENTRY, ret_child);
}

static int child_of_archives(struct call *call, const struct node *parent, const char *name,
			     struct node *ret_child)
{
	return child_of_type(call, parent, name, ".tar", NODE_ARCHIVE, ret_child);
}

static int child_of_indexes(struct call *call, const struct node *parent, const char *name,
			    struct node *ret_child)
{
	return child_of_type(call, parent, name, ".mtree", NODE_INDEX, ret_child);
}

static int child_of_quarantine(struct call *call, const struct node *parent, const char *name,
			       struct node *ret_child)
{
	(void)call;
	if (strlen(parent->name) > TYPE_MAX || strlen(name) > NODE_NAME_MAX)
		return -ENOENT;
	ret_child->kind = NODE_NAMED;
	ret_child->place = PLACE_DAMAGE;
	snprintf(ret_child->name, sizeof(ret_child->name), "%.*s/%.*s", TYPE_MAX, parent->name,
		 NODE_NAME_MAX, name);
	return 0;
}

static int child_of_entry(struct call *call, const struct node *parent, const char *name,
			  struct node *ret_child)
{
	struct package package;
	uint32_t number = 0;
	int r = package_open(call, parent, false, &package);

	if (r < 0)
		return r;
	r = tree_lookup(package.tree, parent->entry, name, strlen(name), &number);
	package_close(call, &package);
	ret_child->kind = NODE_ENTRY;
	ret_child->slot = parent->slot;
	ret_child->entry = number;
	return r;
}

static int describe_text(struct fs *fs, const struct node *node, uint64_t inode,
			 struct stat *ret_attr)
{
	char *text = NULL;
	size_t length = 0;
	int64_t at_ns = 0;
	int r = text_make(fs, node, &text, &length, &at_ns);

	free(text);
	if (r == 0)
		attr_file(fs, ret_attr, inode, 0444, length, at_ns);
	return r;
}

/* A box shows by its mode who may write: its owner, and the members of deploy_group. */
static void describe_box(struct fs *fs, enum box box, uint64_t inode, struct stat *ret_attr)
{
	attr_directory(fs, ret_attr, inode, receipt_changed_ns(fs->engine, box));
	if (fs->engine->options.has_deploy_group) {
		ret_attr->st_mode |= S_IWGRP;
		ret_attr->st_gid = fs->engine->options.deploy_group;
	}
}

static int describe_fixed(struct call *call, const struct node *node,
			  struct fuse_entry_param *ret_entry)
{
	uint64_t inode = inode_of_fixed(node->fixed);
	struct stat *ret_attr = &ret_entry->attr;
	struct fs *fs = call->fs;
	struct engine *engine = fs->engine;
	int64_t changed_ns;

	switch (node->fixed) {
	case FIXED_ROOT:
		attr_directory(fs, ret_attr, inode, engine->mounted_ns);
		return 0;
	case FIXED_DEPLOY:
		describe_box(fs, BOX_DEPLOY, inode, ret_attr);
		return 0;
	case FIXED_STAGE:
		describe_box(fs, BOX_STAGE, inode, ret_attr);
		return 0;
	case FIXED_PACKAGES:
	case FIXED_ARCHIVES:
	case FIXED_INDEXES:
	case FIXED_ROUTES:
		changed_ns = catalog_changed_ns(engine->catalog);
		attr_directory(fs, ret_attr, inode, changed_ns ? changed_ns : engine->mounted_ns);
		return 0;
	case FIXED_QUARANTINE:
		attr_directory(fs, ret_attr, inode, quarantine_changed_ns(engine));
		return 0;
	case FIXED_START:
		return startbox_describe(call, node, ret_entry);
	case FIXED_RUNS:
	case FIXED_BY_STATUS:
		attr_directory(fs, ret_attr, inode, runs_changed_ns(engine));
		return 0;
	case FIXED_LOG:
		attr_file(fs, ret_attr, inode, 0444, log_size(engine), log_changed_ns(engine));
		return 0;
	case FIXED_README:
	case FIXED_STATUS:
	case FIXED_METRICS:
		return describe_text(fs, node, inode, ret_attr);
	case FIXED_ECHO:
	case FIXED_END:
		break;
	}
	return -ENOENT;
}

static int describe_type(struct fs *fs, const struct node *node, struct stat *ret_attr)
{
	struct catalog *catalog = fs->engine->catalog;

	if (!catalog_has_type(catalog, node->name))
		return -ENOENT;
	attr_directory(fs, ret_attr, inode_of_name(node->place, node->name),
		       catalog_type_changed_ns(catalog, node->name));
	return 0;
}

static int describe_packages(struct call *call, const struct node *node,
			     struct fuse_entry_param *ret_entry)
{
	ret_entry->entry_timeout = TIMEOUT_FOREVER;
	return describe_type(call->fs, node, &ret_entry->attr);
}

static int describe_seen(struct call *call, const struct node *node,
			 struct fuse_entry_param *ret_entry)
{
	return describe_type(call->fs, node, &ret_entry->attr);
}

static int describe_quarantine(struct call *call, const struct node *node,
			       struct fuse_entry_param *ret_entry)
{
	struct fs *fs = call->fs;

	if (!quarantine_has_type(fs->engine, node->name))
		return -ENOENT;
	attr_directory(fs, &ret_entry->attr, inode_of_name(node->place, node->name),
		       quarantine_changed_ns(fs->engine));
	return 0;
}

static int describe_damage(struct call *call, const struct node *node,
			   struct fuse_entry_param *ret_entry)
{
	return describe_text(call->fs, node, inode_of_name(node->place, node->name),
			     &ret_entry->attr);
}

static int describe_file(struct call *call, const struct node *node,
			 struct fuse_entry_param *ret_entry)
{
	return dropbox_describe(call, box_of_file(node), node->name, &ret_entry->attr);
}

static int describe_route(struct call *call, const struct node *node,
			  struct fuse_entry_param *ret_entry)
{
	return routes_describe(call->fs, node->name, &ret_entry->attr);
}

static int describe_generated(struct call *call, const struct node *node,
			      struct fuse_entry_param *ret_entry)
{
	struct version *version = package_version(call, node->slot, true);
	struct fs *fs = call->fs;
	uint64_t size;
	int r = 0;

	if (!version)
		return -ESTALE;
	memset(ret_entry, 0, sizeof(*ret_entry));
	ret_entry->generation = version->slot;
	ret_entry->attr_timeout = TIMEOUT_FOREVER;
	if (node->kind == NODE_INDEX) {
		ret_entry->ino = node_of_index(version->slot);
		attr_file(fs, &ret_entry->attr, inode_of_index(&version->digest), 0444,
			  version->index_bytes, version->first_ns);
	} else {
		ret_entry->ino = node_of_archive(version->slot);
		r = archive_size(call, version, &size);
		if (r == 0)
			attr_file(fs, &ret_entry->attr, inode_of_archive(&version->digest), 0444,
				  size, version->first_ns);
	}
	version_put(version);
	return r;
}

static int describe_entry(struct call *call, const struct node *node,
			  struct fuse_entry_param *ret_entry)
{
	struct package package;
	int r;

	if (node->entry == 0) {
		struct version *version = package_version(call, node->slot, true);

		if (!version)
			return -ESTALE;
		package_describe_root(call->fs, version, ret_entry);
		version_put(version);
		return 0;
	}
	r = package_open(call, node, true, &package);
	if (r < 0)
		return r;
	package_describe(call->fs, &package, node->entry, ret_entry);
	package_close(call, &package);
	return 0;
}

static int list_names(const struct name_list *names, struct listing *ret_listing)
{
	int r = 0;

	for (size_t i = 0; i < names->count && r == 0; i++)
		r = listing_add(ret_listing, names->names[i]);
	return r;
}

static int list_versions(struct fs *fs, const char *type, const char *suffix,
			 struct listing *ret_listing)
{
	char name[DIGEST_HEX + sizeof(".mtree")];
	struct version_list list = {0};
	int r = catalog_list_versions(fs->engine->catalog, type, &list);

	if (r < 0)
		return r;
	for (size_t i = 0; i < list.count && r == 0; i++) {
		snprintf(name, sizeof(name), "%s%s", list.versions[i]->hex, suffix);
		r = listing_add(ret_listing, name);
	}
	catalog_list_free(&list);
	return r;
}

static int list_top(struct listing *ret_listing)
{
	int r = 0;

	for (size_t i = 0; i < sizeof(top) / sizeof(top[0]) && r == 0; i++)
		r = listing_add(ret_listing, top[i].name);
	return r;
}

static int list_fixed(struct call *call, const struct node *node, struct listing *ret_listing)
{
	struct fs *fs = call->fs;
	struct name_list names = {0};
	int r = 0;

	switch (node->fixed) {
	case FIXED_ROOT:
		return list_top(ret_listing);
	case FIXED_DEPLOY:
	case FIXED_STAGE:
		return dropbox_list(call, node, ret_listing);
	case FIXED_START:
		return startbox_list(call, node, ret_listing);
	case FIXED_RUNS:
	case FIXED_BY_STATUS:
		return rundir_list(call, node, ret_listing);
	case FIXED_ROUTES:
		return routes_list(fs, ret_listing);
	case FIXED_PACKAGES:
	case FIXED_ARCHIVES:
	case FIXED_INDEXES:
		r = catalog_list_types(fs->engine->catalog, &names);
		break;
	case FIXED_QUARANTINE:
		r = quarantine_list_types(fs->engine, &names);
		break;
	case FIXED_README:
	case FIXED_LOG:
	case FIXED_STATUS:
	case FIXED_METRICS:
	case FIXED_ECHO:
	case FIXED_END:
		return -ENOTDIR;
	}
	if (r == 0)
		r = list_names(&names, ret_listing);
	free(names.names);
	return r;
}

static int list_packages(struct call *call, const struct node *node, struct listing *ret_listing)
{
	return list_versions(call->fs, node->name, "", ret_listing);
}

static int list_archives(struct call *call, const struct node *node, struct listing *ret_listing)
{
	return list_versions(call->fs, node->name, ".tar", ret_listing);
}

static int list_indexes(struct call *call, const struct node *node, struct listing *ret_listing)
{
	return list_versions(call->fs, node->name, ".mtree", ret_listing);
}

static int list_quarantine(struct call *call, const struct node *node, struct listing *ret_listing)
{
	struct name_list names = {0};
	int r = quarantine_list(call->fs->engine, node->name, &names);

	if (r == 0)
		r = list_names(&names, ret_listing);
	free(names.names);
	return r;
}

/* What can be asked of a name in a place. Files have no children and no list. */
static const struct rules {
	int (*child)(struct call *call, const struct node *parent, const char *name,
		     struct node *ret_child);
	int (*describe)(struct call *call, const struct node *node,
			struct fuse_entry_param *ret_entry);
	int (*list)(struct call *call, const struct node *node, struct listing *ret_listing);
} rules[] = {
	[PLACE_PACKAGES] = {child_of_packages, describe_packages, list_packages},
	[PLACE_ARCHIVES] = {child_of_archives, describe_seen, list_archives},
	[PLACE_INDEXES] = {child_of_indexes, describe_seen, list_indexes},
	[PLACE_QUARANTINE] = {child_of_quarantine, describe_quarantine, list_quarantine},
	[PLACE_DAMAGE] = {NULL, describe_damage, NULL},
	[PLACE_DEPLOY] = {NULL, describe_file, NULL},
	[PLACE_STAGE] = {NULL, describe_file, NULL},
	[PLACE_ROUTES] = {NULL, describe_route, NULL},
};

static const struct rules in_start = {startbox_child, startbox_describe, startbox_list};
static const struct rules in_runs = {rundir_child, rundir_describe, rundir_list};

static const struct rules *rules_of(const struct node *node)
{
	if (startbox_owns(node))
		return &in_start;
	return rundir_owns(node) ? &in_runs : &rules[node->place];
}

int entry_child(struct call *call, const struct node *parent, const char *name,
		struct node *ret_child)
{
	if (parent->kind == NODE_FIXED)
		return child_of_fixed(call, parent, name, ret_child);
	if (parent->kind == NODE_ENTRY)
		return child_of_entry(call, parent, name, ret_child);
	if (parent->kind == NODE_NAMED && rules_of(parent)->child)
		return rules_of(parent)->child(call, parent, name, ret_child);
	return parent->kind == NODE_INVALID ? -ESTALE : -ENOTDIR;
}

int entry_describe(struct call *call, const struct node *node, struct fuse_entry_param *ret_entry)
{
	memset(ret_entry, 0, sizeof(*ret_entry));
	switch (node->kind) {
	case NODE_FIXED:
		ret_entry->ino = node->fixed;
		ret_entry->entry_timeout = TIMEOUT_FOREVER;
		return describe_fixed(call, node, ret_entry);
	case NODE_NAMED:
		return rules_of(node)->describe(call, node, ret_entry);
	case NODE_ENTRY:
		return describe_entry(call, node, ret_entry);
	case NODE_ARCHIVE:
	case NODE_INDEX:
		return describe_generated(call, node, ret_entry);
	case NODE_INVALID:
		break;
	}
	return -ESTALE;
}

int entry_describe_known(struct call *call, const struct node *node,
			 struct fuse_entry_param *ret_entry)
{
	int r;

	if (node->kind == NODE_NAMED && rundir_owns(node)) {
		memset(ret_entry, 0, sizeof(*ret_entry));
		return rundir_describe_open(call, node, ret_entry);
	}
	r = entry_describe(call, node, ret_entry);
	if (r == -ENOENT && node->kind == NODE_NAMED && node->place == PLACE_PACKAGES)
		return -ESTALE;
	return r;
}

int entry_count(struct fs *fs, const struct node *node, struct fuse_entry_param *entry)
{
	if (node->kind == NODE_NAMED)
		entry->ino = node_get(fs->nodes, node->place, node->name);
	return entry->ino ? 0 : -ENOMEM;
}

int entry_list(struct call *call, const struct node *node, struct listing *ret_listing)
{
	if (node->kind == NODE_FIXED)
		return list_fixed(call, node, ret_listing);
	if (node->kind == NODE_NAMED && rules_of(node)->list)
		return rules_of(node)->list(call, node, ret_listing);
	return -ENOTDIR;
}
