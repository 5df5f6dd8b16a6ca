/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the answers about names: is it there, what is it, may I. A name that is missing under a
 * version is missing for ever, and the kernel is told so; everywhere else it is asked for again.
 */
#include "fs/lookup.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "engine/permit.h"
#include "fs/attr.h"
#include "fs/box.h"
#include "fs/commit.h"
#include "fs/entry.h"
#include "fs/package.h"
#include "fs/routes.h"
#include "fs/rundir.h"
#include "fs/startbox.h"

/* In the version's own directory a link may come: a plain `ln -sf` looks first, then makes it. */
static bool is_missing_for_ever(const struct node *parent, int error)
{
	return error == -ENOENT && parent->kind == NODE_ENTRY && parent->entry != 0;
}

static void answer_missing(struct call *call)
{
	struct fuse_entry_param missing = {.entry_timeout = TIMEOUT_FOREVER};

	fuse_reply_entry(call->request, &missing);
}

/* The kernel tells the last close of an empty input, which starts a run, after close(2). */
static int describe_child(struct call *call, const struct node *child,
			  struct fuse_entry_param *ret_entry)
{
	int r = entry_describe(call, child, ret_entry);

	if (r != -ENOENT || child->kind != NODE_NAMED || child->place != PLACE_RUN)
		return r;
	r = commit_await(call, &box_start, child->name);
	return r == 0 ? entry_describe(call, child, ret_entry) : r;
}

int lookup_run(struct call *call)
{
	struct fuse_entry_param entry;
	struct node parent, child;
	int r;

	node_resolve(call->fs->nodes, call->node, &parent);
	r = entry_child(call, &parent, call->name, &child);
	if (is_missing_for_ever(&parent, r)) {
		answer_missing(call);
		return 0;
	}
	if (r == 0)
		r = describe_child(call, &child, &entry);
	if (r == 0)
		r = entry_count(call->fs, &child, &entry);
	/* Unloaded between the two questions: for the name that means that it is gone. */
	if (r == -ESTALE && parent.kind != NODE_ENTRY && parent.kind != NODE_INVALID)
		r = -ENOENT;
	if (r != 0)
		return r;
	call_reply_entry(call, &entry);
	return 0;
}

int lookup_attr(struct call *call)
{
	struct fuse_entry_param entry;
	struct node node;
	int r;

	node_resolve(call->fs->nodes, call->node, &node);
	r = entry_describe_known(call, &node, &entry);
	if (r < 0)
		return r;
	fuse_reply_attr(call->request, &entry.attr, entry.attr_timeout);
	return 0;
}

static bool is_read_only(const struct node *node)
{
	if (box_of_directory(node) || box_of_file(node))
		return false;
	if (node->kind == NODE_FIXED)
		return node->fixed != FIXED_ROUTES && node->fixed != FIXED_PACKAGES &&
		       node->fixed != FIXED_RUNS;
	if (node->kind == NODE_NAMED)
		return node->place != PLACE_ROUTES && node->place != PLACE_PACKAGES &&
		       !rundir_owns(node);
	return true;
}

/* Who may look into a run may do there what its user may. */
static void take_part(struct call *call, const struct node *node, struct stat *attr)
{
	if (node->kind == NODE_NAMED && rundir_owns(node) && rundir_check(call, node) == 0)
		attr->st_uid = call->caller.uid;
}

int lookup_access(struct call *call)
{
	struct fuse_entry_param entry;
	struct node node;
	int r;

	node_resolve(call->fs->nodes, call->node, &node);
	r = entry_describe_known(call, &node, &entry);
	if (r < 0)
		return r;
	if ((call->flags & W_OK) && is_read_only(&node))
		return -EROFS;
	take_part(call, &node, &entry.attr);
	r = attr_access(call->request, &entry.attr, (int)call->flags);
	if (r < 0)
		return r;
	fuse_reply_err(call->request, 0);
	return 0;
}

int lookup_readlink(struct call *call)
{
	struct node node;

	node_resolve(call->fs->nodes, call->node, &node);
	if (node.kind == NODE_ENTRY)
		return package_readlink(call, &node);
	if (node.kind == NODE_NAMED && node.place == PLACE_ROUTES)
		return routes_readlink(call, node.name);
	if (node.kind == NODE_NAMED && rundir_owns(&node))
		return rundir_readlink(call, &node);
	return node.kind == NODE_INVALID ? -ESTALE : -EINVAL;
}

int lookup_setattr(struct call *call)
{
	struct engine *engine = call->fs->engine;
	struct reason reason = {0};
	struct node node;
	int r;

	node_resolve(call->fs->nodes, call->node, &node);
	if (startbox_owns(&node))
		r = permit_start(engine, &call->caller, "a directory", &reason);
	else if (rundir_owns(&node))
		r = rundir_check(call, &node);
	else
		r = permit_deploy(engine, &call->caller, "change the attributes of", "a directory",
				  &reason);
	return r < 0 ? -EPERM : lookup_attr(call);
}
