/* SPDX-License-Identifier: Apache-2.0 */
/* Owns rmdir(2): the unload of a version, the removal of a run, and nothing else. */
#include "fs/removal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/runs.h"
#include "engine/unload.h"
#include "fs/archive.h"
#include "fs/entry.h"
#include "fs/rundir.h"
#include "fs/spool.h"
#include "fs/startbox.h"

static int unload(struct call *call, const struct node *parent)
{
	struct catalog *catalog = call->fs->engine->catalog;
	struct reason reason = {0};
	struct version *version;
	struct digest digest;
	uint32_t slot;
	int r;

	if (digest_parse(call->name, strlen(call->name), &digest) < 0)
		return -ENOENT;
	version = catalog_find(catalog, parent->name, &digest);
	if (!version)
		return -ENOENT;
	slot = version->slot;
	version_put(version);
	r = unload_version(call->fs->engine, &call->caller, parent->name, &digest, &reason);
	if (r == 0)
		archives_drop(call->fs, slot);
	return r;
}

/* A file that was on its way to the run goes with it. */
static int remove_run(struct call *call)
{
	char prefix[RUN_ID_MAX + 2];
	struct reason reason = {0};
	int r = runs_remove(call->fs->engine, &call->caller, call->name, &reason);

	if (r == 0 && strlen(call->name) <= RUN_ID_MAX) {
		snprintf(prefix, sizeof(prefix), "%s/", call->name);
		spool_sweep(call->fs, &box_step, prefix);
		spool_sweep(call->fs, &box_signal, prefix);
		node_retire(call->fs->nodes, PLACE_RUN, call->name);
	}
	return r;
}

static bool is_refused(const struct node *parent)
{
	return box_of_directory(parent) || startbox_owns(parent) || rundir_owns(parent) ||
	       (parent->kind == NODE_FIXED &&
		(parent->fixed == FIXED_ROUTES || parent->fixed == FIXED_ROOT));
}

static bool is_runs(const struct node *parent)
{
	return parent->kind == NODE_FIXED && parent->fixed == FIXED_RUNS;
}

int removal_rmdir(struct call *call)
{
	struct node parent;
	int r;

	node_resolve(call->fs->nodes, call->node, &parent);
	if (parent.kind == NODE_FIXED && parent.fixed == FIXED_PACKAGES)
		return catalog_has_type(call->fs->engine->catalog, call->name) ? -ENOTEMPTY
									       : -ENOENT;
	if (!is_runs(&parent) && is_refused(&parent))
		return -EPERM;
	if (!is_runs(&parent) && (parent.kind != NODE_NAMED || parent.place != PLACE_PACKAGES))
		return -EROFS;
	if (!call->may_block)
		return -EAGAIN;
	r = is_runs(&parent) ? remove_run(call) : unload(call, &parent);
	if (r == 0)
		fuse_reply_err(call->request, 0);
	return r;
}
