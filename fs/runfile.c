/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns open and read of a run's files. Inputs, results, steps and signals never change: they are
 * taken when they are opened. History and log grow: each read sees what is there then, so that
 * `tail -f` goes on. Writing is refused when the file is opened, but for what controls.c takes.
 */
#include "fs/runfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fs/controls.h"
#include "fs/files.h"
#include "fs/held.h"

struct handle *runfile_handle(struct call *call, const struct node *node, enum handle_kind kind)
{
	struct handle *handle = handle_new(call->fs, kind);

	if (!handle)
		return NULL;
	handle->node = malloc(sizeof(*handle->node));
	if (!handle->node) {
		handle_put(call->fs, handle);
		return NULL;
	}
	*handle->node = *node;
	call->file.direct_io = 1;
	call->file.noflush = 1;
	return handle;
}

int runfile_load(struct call *call, enum place place, const char *text, struct handle *handle)
{
	struct run_value_view view;
	struct rundir_name name;
	enum run_value value;
	char *bytes = NULL;
	int r;

	if (!rundir_value(place, &value))
		return -ENOENT;
	rundir_split(text, &name);
	r = runs_read_value(call->fs->engine, name.id, value, name.name, &view, &bytes);
	if (r < 0)
		return r;
	handle->text = bytes;
	handle->store = call->fs->engine->store;
	handle->digest = view.digest;
	handle->size = view.bytes;
	return 0;
}

int runfile_open_value(struct call *call, enum place place, const char *text)
{
	struct handle *handle;
	int r;

	if (!call->may_block) {
		call->group = WORK_RUNS;
		return -EAGAIN;
	}
	handle = handle_new(call->fs, HANDLE_TEXT);
	if (!handle)
		return -ENOMEM;
	r = runfile_load(call, place, text, handle);
	if (r < 0) {
		handle_put(call->fs, handle);
		return r;
	}
	if (!handle->text)
		handle->kind = HANDLE_CONTENT;
	call->file.direct_io = 1;
	call->file.noflush = 1;
	return files_reply_open(call, handle);
}

static int open_text(struct call *call, const struct node *node)
{
	struct engine *engine = call->fs->engine;
	size_t length = 0;
	char *text = NULL;
	int r;

	if (node->place == PLACE_RUN_STATUS)
		r = runs_status_text(engine, node->name, &text, &length);
	else
		r = runs_error(engine, node->name, &text, &length);
	return r < 0 ? r : files_open_text(call, text, length);
}

static int open_growing(struct call *call, const struct node *node, enum handle_kind kind)
{
	struct handle *handle = runfile_handle(call, node, kind);

	return handle ? files_reply_open(call, handle) : -ENOMEM;
}

static int open_to_read(struct call *call, const struct node *node)
{
	switch ((int)node->place) {
	case PLACE_RUN_INPUT:
	case PLACE_RUN_RESULT:
	case PLACE_TIMER:
		return runfile_open_value(call, node->place, node->name);
	case PLACE_RUN_STATUS:
	case PLACE_RUN_ERROR:
		return open_text(call, node);
	case PLACE_RUN_LOG:
		return open_growing(call, node, HANDLE_RUN_LOG);
	case PLACE_RUN_HISTORY:
		return open_growing(call, node, HANDLE_HISTORY);
	case PLACE_WAIT_RESULT:
	case PLACE_WAIT_TIMER:
	case PLACE_WAIT_SIGNAL:
		return open_growing(call, node, HANDLE_WAIT);
	default:
		return -EISDIR;
	}
}

int runfile_open(struct call *call)
{
	struct node node;
	int r;

	node_resolve(call->fs->nodes, call->node, &node);
	if (node.kind != NODE_NAMED || !rundir_owns(&node))
		return -ESTALE;
	r = rundir_check(call, &node);
	if (r < 0)
		return r;
	if (node.place == PLACE_RUN_CTL)
		return controls_open(call, &node);
	if ((call->file.flags & O_ACCMODE) == O_RDONLY && !(call->file.flags & O_TRUNC))
		return open_to_read(call, &node);
	return node.place == PLACE_TIMER ? controls_open(call, &node) : -EPERM;
}

/* With the handle's lock: whether the text lacks events that the read would show. */
static bool is_behind(const struct call *call, const struct handle *handle, uint64_t sequence)
{
	return sequence > handle->sequence && (uint64_t)call->offset + call->size > handle->size;
}

/* With the handle's lock. What a removed run's history was remains readable. */
static int refresh(struct call *call, struct handle *handle)
{
	struct run_view view;
	size_t length = 0;
	char *text = NULL;
	int r = runs_view(call->fs->engine, handle->node->name, &view);

	if (r == -ENOENT || (r == 0 && !is_behind(call, handle, view.sequence)))
		return 0;
	if (r == 0 && !call->may_block)
		return -EAGAIN;
	if (r == 0)
		r = runs_history(call->fs->engine, view.id, &text, &length);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	free(handle->text);
	handle->text = text;
	handle->size = length;
	handle->sequence = view.sequence;
	return 0;
}

/*
 * The text is replaced by a longer one only, with the same beginning. The reader may close as soon
 * as the kernel has the answer.
 */
static int read_history(struct call *call, struct handle *handle)
{
	uint64_t offset = (uint64_t)call->offset;
	size_t length = call->size;
	int r;

	handle_get(handle);
	pthread_mutex_lock(&handle->lock);
	r = refresh(call, handle);
	if (r == 0) {
		if (offset >= handle->size)
			length = 0;
		else if (length > handle->size - offset)
			length = (size_t)(handle->size - offset);
		fuse_reply_buf(call->request, length ? handle->text + offset : NULL, length);
	}
	pthread_mutex_unlock(&handle->lock);
	handle_put(call->fs, handle);
	return r;
}

static int read_log(struct call *call, const struct handle *handle)
{
	char *buffer = malloc(call->size ? call->size : 1);
	ssize_t n;

	if (!buffer)
		return -ENOMEM;
	n = runs_log_read(call->fs->engine, handle->node->name, (uint64_t)call->offset, buffer,
			  call->size);
	if (n == -ENOENT)
		n = 0;
	if (n >= 0)
		fuse_reply_buf(call->request, buffer, (size_t)n);
	free(buffer);
	return n < 0 ? (int)n : 0;
}

int runfile_read(struct call *call)
{
	struct handle *handle = handle_of(&call->file);

	if (handle->kind == HANDLE_HISTORY)
		return read_history(call, handle);
	if (handle->kind == HANDLE_RUN_LOG)
		return read_log(call, handle);
	return held_read(call);
}
