/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the files that answer in write(2). What a text means is the engine's to say. */
#include "fs/controls.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "engine/control.h"
#include "engine/record.h"
#include "fs/files.h"
#include "fs/rundir.h"
#include "fs/runfile.h"

/* Waits for what the run records right now, so it is for a worker. */
static int check_attempt(struct call *call, const struct node *node)
{
	struct reason reason = {0};
	struct rundir_name name;

	if (!call->may_block) {
		call->group = WORK_RUNS;
		return -EAGAIN;
	}
	rundir_split(node->name, &name);
	return step_check_caller(call->fs->engine, &call->caller, name.id, &reason);
}

int controls_open(struct call *call, const struct node *node)
{
	bool is_timer = node->place == PLACE_TIMER;
	struct handle *handle;
	int r = is_timer ? check_attempt(call, node) : 0;

	if (r < 0)
		return r;
	handle = runfile_handle(call, node, is_timer ? HANDLE_TIMER : HANDLE_CTL);
	return handle ? files_reply_open(call, handle) : -ENOMEM;
}

static int reply_created(struct call *call, const struct node *node)
{
	struct handle *handle = runfile_handle(call, node, HANDLE_TIMER);
	struct fuse_entry_param entry = {0};
	int r = handle ? rundir_describe_open(call, node, &entry) : -ENOMEM;

	if (r == 0)
		entry.ino = node_get(call->fs->nodes, node->place, node->name);
	if (r == 0 && !entry.ino)
		r = -ENOMEM;
	if (r < 0) {
		if (handle)
			handle_put(call->fs, handle);
		return r;
	}
	call->file.fh = (uintptr_t)handle;
	if (fuse_reply_create(call->request, &entry, &call->file) < 0) {
		node_forget(call->fs->nodes, entry.ino, 1);
		handle_put(call->fs, handle);
	}
	return 0;
}

int controls_create(struct call *call)
{
	struct node parent, node;
	int r;

	node_resolve(call->fs->nodes, call->node, &parent);
	if (parent.kind != NODE_NAMED || parent.place != PLACE_TIMERS)
		return -EPERM;
	r = rundir_child(call, &parent, call->name, &node);
	if (r < 0)
		return r;
	if (!event_name_is_valid(call->name))
		return -EINVAL;
	r = check_attempt(call, &node);
	return r < 0 ? r : reply_created(call, &node);
}

int controls_write(struct call *call)
{
	const struct handle *handle = handle_of(&call->file);
	struct engine *engine = call->fs->engine;
	struct reason reason = {0};
	struct rundir_name name;
	int r;

	if (!call->may_block) {
		call->group = WORK_RUNS;
		return -EAGAIN;
	}
	rundir_split(handle->node->name, &name);
	if (handle->kind == HANDLE_CTL)
		r = control_run(engine, &call->caller, name.id, call->data, call->size, &reason);
	else
		r = timer_arm(engine, &call->caller, name.id, name.name, call->data, call->size,
			      &reason);
	if (r == 0)
		fuse_reply_write(call->request, call->size);
	return r;
}
