/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the translation of symlink(2), rename(2) and unlink(2) in routes/ into changes of routes. A
 * route is durable before the call that made it returns. Invariant: a name is shown as the live
 * route when there is one; only else as what is staged.
 */
#include "fs/routes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/permit.h"
#include "engine/route.h"
#include "engine/type.h"
#include "fs/attr.h"
#include "fs/handle.h"
#include "fs/package.h"

#define TARGET_PREFIX "../packages/"
#define DIGITS_MIN 8 /* of a version that is named by its beginning */

static bool is_loaded_type(struct fs *fs, const char *name)
{
	return type_is_valid(name, strlen(name)) && catalog_has_type(fs->engine->catalog, name);
}

static bool is_routed(struct fs *fs, const char *name, struct digest *ret_digest)
{
	return type_is_valid(name, strlen(name)) &&
	       catalog_route(fs->engine->catalog, name, ret_digest) == 0;
}

int routes_describe(struct fs *fs, const char *name, struct stat *ret_attr)
{
	uint64_t inode = inode_of_name(PLACE_ROUTES, name);
	struct digest digest;
	struct staged staged;

	if (is_routed(fs, name, &digest)) {
		attr_link(fs, ret_attr, inode,
			  sizeof(TARGET_PREFIX) - 1 + strlen(name) + 1 + DIGEST_HEX,
			  catalog_route_changed_ns(fs->engine->catalog, name));
		return 0;
	}
	if (links_get(fs->links, name, &staged) < 0)
		return -ENOENT;
	if (staged.is_link)
		attr_link(fs, ret_attr, inode, strlen(staged.target), staged.made_ns);
	else
		attr_file(fs, ret_attr, inode, 0644, 0, staged.made_ns);
	return 0;
}

int routes_list(struct fs *fs, struct listing *listing)
{
	struct name_list names = {0};
	int r = catalog_list_routes(fs->engine->catalog, &names);

	for (size_t i = 0; i < names.count && r == 0; i++)
		r = listing_add(listing, names.names[i]);
	free(names.names);
	if (r == 0)
		r = links_list(fs->links, listing);
	if (r == 0)
		listing_sort(listing);
	return r;
}

int routes_readlink(struct call *call, const char *name)
{
	char target[sizeof(TARGET_PREFIX) + NODE_NAME_MAX + 1 + DIGEST_HEX];
	char hex[DIGEST_HEX + 1];
	struct digest digest;
	struct staged staged;

	if (is_routed(call->fs, name, &digest)) {
		snprintf(target, sizeof(target), TARGET_PREFIX "%.*s/%s", NODE_NAME_MAX, name,
			 digest_hex(&digest, hex));
		fuse_reply_readlink(call->request, target);
		return 0;
	}
	if (links_get(call->fs->links, name, &staged) < 0)
		return -ENOENT;
	if (!staged.is_link)
		return -EINVAL;
	fuse_reply_readlink(call->request, staged.target);
	return 0;
}

static int check_permission(struct call *call, const char *name)
{
	struct reason reason = {0};

	return permit_deploy(call->fs->engine, &call->caller, "change routes, by the name of", name,
			     &reason);
}

static int describe_new(struct call *call, struct fuse_entry_param *ret_entry)
{
	int r;

	memset(ret_entry, 0, sizeof(*ret_entry));
	r = routes_describe(call->fs, call->name, &ret_entry->attr);
	if (r < 0)
		return r;
	ret_entry->ino = node_get(call->fs->nodes, PLACE_ROUTES, call->name);
	return ret_entry->ino ? 0 : -ENOMEM;
}

static int reply_new(struct call *call)
{
	struct fuse_entry_param entry;
	int r = describe_new(call, &entry);

	if (r == 0)
		call_reply_entry(call, &entry);
	return r;
}

static int set_route(struct call *call, const char *type, const char *target)
{
	struct reason reason = {0};

	return route_set(call->fs->engine, &call->caller, type, target, &reason);
}

int routes_symlink(struct call *call)
{
	struct digest digest;
	int r;

	if (strlen(call->name) > NODE_NAME_MAX)
		return -ENAMETOOLONG;
	if (is_loaded_type(call->fs, call->name)) {
		if (!call->may_block)
			return -EAGAIN;
		if (is_routed(call->fs, call->name, &digest))
			return -EEXIST;
		r = set_route(call, call->name, call->text);
	} else {
		r = check_permission(call, call->name);
		if (r == 0)
			r = links_add(call->fs->links, call->name, call->text);
	}
	return r < 0 ? r : reply_new(call);
}

/* The empty file: made, perhaps opened, never written. */
static int reply_created(struct call *call)
{
	struct handle *handle = handle_new(call->fs, HANDLE_NOTHING);
	struct fuse_entry_param entry;
	int r;

	if (!handle)
		return -ENOMEM;
	r = describe_new(call, &entry);
	if (r < 0) {
		handle_put(call->fs, handle);
		return r;
	}
	call->file.fh = (uintptr_t)handle;
	call->file.direct_io = 1;
	if (fuse_reply_create(call->request, &entry, &call->file) < 0) {
		node_forget(call->fs->nodes, entry.ino, 1);
		handle_put(call->fs, handle);
	}
	return 0;
}

int routes_create(struct call *call)
{
	struct digest digest;
	int r;

	if (!S_ISREG(call->mode) && (call->mode & S_IFMT) != 0)
		return -EPERM;
	if (strlen(call->name) > NODE_NAME_MAX)
		return -ENAMETOOLONG;
	if (is_routed(call->fs, call->name, &digest))
		return -EEXIST;
	r = check_permission(call, call->name);
	if (r == 0)
		r = links_add(call->fs->links, call->name, NULL);
	if (r < 0)
		return r;
	return call->has_file ? reply_created(call) : reply_new(call);
}

int routes_open(struct call *call)
{
	struct handle *handle;
	struct staged staged;
	struct node node;

	node_resolve(call->fs->nodes, call->node, &node);
	if (links_get(call->fs->links, node.name, &staged) < 0)
		return -ENOENT;
	if (staged.is_link)
		return -ELOOP;
	handle = handle_new(call->fs, HANDLE_NOTHING);
	if (!handle)
		return -ENOMEM;
	call->file.fh = (uintptr_t)handle;
	call->file.direct_io = 1;
	if (fuse_reply_open(call->request, &call->file) < 0)
		handle_put(call->fs, handle);
	return 0;
}

int routes_write(struct call *call)
{
	struct staged staged;
	struct node node;

	node_resolve(call->fs->nodes, call->node, &node);
	if (links_get(call->fs->links, node.name, &staged) == 0 && !staged.is_link)
		links_remove(call->fs->links, node.name);
	return -EPERM;
}

/* A staged link gets a type's name: that is the re-route. */
static int rename_to_type(struct call *call, const struct staged *staged)
{
	struct digest digest;
	int r;

	if (!staged->is_link)
		return -EINVAL;
	if (!call->may_block)
		return -EAGAIN;
	if ((call->flags & RENAME_NOREPLACE) && is_routed(call->fs, call->text, &digest))
		return -EEXIST;
	r = set_route(call, call->text, staged->target);
	if (r < 0)
		return r;
	links_remove(call->fs->links, call->name);
	fuse_reply_err(call->request, 0);
	return 0;
}

int routes_rename(struct call *call)
{
	struct staged staged;
	struct digest digest;
	int r;

	if (call->flags & ~(unsigned)RENAME_NOREPLACE)
		return -EINVAL;
	if (strlen(call->text) > NODE_NAME_MAX)
		return -ENAMETOOLONG;
	if (is_routed(call->fs, call->name, &digest))
		return -EPERM;
	if (links_get(call->fs->links, call->name, &staged) < 0)
		return -ENOENT;
	if (is_loaded_type(call->fs, call->text))
		return rename_to_type(call, &staged);
	r = check_permission(call, call->name);
	if (r == 0)
		r = links_rename(call->fs->links, call->name, call->text,
				 call->flags & RENAME_NOREPLACE);
	if (r == 0)
		fuse_reply_err(call->request, 0);
	return r;
}

int routes_unlink(struct call *call)
{
	struct reason reason = {0};
	struct digest digest;
	int r;

	if (is_routed(call->fs, call->name, &digest)) {
		if (!call->may_block)
			return -EAGAIN;
		r = route_remove(call->fs->engine, &call->caller, call->name, &reason);
		if (r == 0) /* what was staged before there was a route must not reappear */
			links_remove(call->fs->links, call->name);
	} else {
		struct staged staged;

		r = links_get(call->fs->links, call->name, &staged);
		if (r == 0)
			r = check_permission(call, call->name);
		if (r == 0)
			r = links_remove(call->fs->links, call->name);
	}
	if (r == 0)
		fuse_reply_err(call->request, 0);
	return r;
}

/* Owners and times of links are accepted and not kept: cp -a and rsync set them after the link. */
int routes_setattr(struct call *call)
{
	struct stat attr;
	struct node node;
	int r;

	node_resolve(call->fs->nodes, call->node, &node);
	r = routes_describe(call->fs, node.name, &attr);
	if (r == 0 && (call->flags & FUSE_SET_ATTR_SIZE) && call->attr.st_size != 0)
		r = -EPERM;
	if (r == 0)
		r = check_permission(call, node.name) < 0 ? -EPERM : 0;
	if (r == 0)
		fuse_reply_attr(call->request, &attr, TIMEOUT_NEVER);
	return r;
}

/* The name that `ln -sf TARGET DIRECTORY` makes up: the last part of its target. */
static bool is_last_part(const char *target, const char *name)
{
	size_t end = strlen(target), length = strlen(name);

	while (end > 0 && target[end - 1] == '/')
		end--;
	return end >= length && memcmp(target + end - length, name, length) == 0 &&
	       (end == length || target[end - length - 1] == '/');
}

static bool designates_version(const char *name)
{
	size_t length = strlen(name);

	return length >= DIGITS_MIN && length <= DIGEST_HEX &&
	       strspn(name, "0123456789abcdef") == length;
}

/*
 * The link that ln believes it made: an ordinary answer that is asked for again, and then is gone.
 */
static void reply_echo(struct call *call)
{
	struct fuse_entry_param entry = {.ino = FIXED_ECHO};

	attr_link(call->fs, &entry.attr, inode_of_fixed(FIXED_ECHO), strlen(call->text),
		  call->fs->engine->mounted_ns);
	call_reply_entry(call, &entry);
}

int routes_symlink_inside(struct call *call)
{
	struct version *version;
	struct digest routed;
	struct node parent;
	int r = -EROFS;

	node_resolve(call->fs->nodes, call->node, &parent);
	if (parent.kind != NODE_ENTRY || parent.entry != 0 || !designates_version(call->name) ||
	    !is_last_part(call->text, call->name))
		return -EROFS;
	version = package_version(call, parent.slot, false);
	if (!version)
		return -ESTALE;
	if (catalog_route(call->fs->engine->catalog, version->type, &routed) == 0 &&
	    digest_equal(&routed, &version->digest))
		r = call->may_block ? set_route(call, version->type, call->text) : -EAGAIN;
	version_put(version);
	if (r == 0)
		reply_echo(call);
	return r;
}
