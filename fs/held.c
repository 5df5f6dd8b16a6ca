/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns held reads. Invariant: a call that is listed with the engine is touched by nobody but who
 * takes it off the list. `held_lock` is held from the listing to the last look at the call after
 * it, and a worker that gets the call takes it once before anything else: so the call cannot be
 * over while the thread that listed it still looks at its cancel flag. Order of locks: held_lock,
 * the engine's, the workers'.
 */
#include "fs/held.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "fs/files.h"
#include "fs/rundir.h"
#include "fs/runfile.h"

/* What is waited for. */
struct wish {
	struct rundir_name name;
	enum wait_kind kind;
};

static void make_wish(const struct handle *handle, struct wish *ret_wish)
{
	enum place place = handle->node->place;

	rundir_split(handle->node->name, &ret_wish->name);
	ret_wish->kind = WAIT_RESULT;
	if (place == PLACE_WAIT_TIMER)
		ret_wish->kind = WAIT_TIMER;
	if (place == PLACE_WAIT_SIGNAL)
		ret_wish->kind = WAIT_SIGNAL;
}

static void on_ready(struct waiter *waiter)
{
	call_resume(((struct held *)waiter)->call);
}

void held_end(struct call *call)
{
	if (wait_remove(call->fs->engine, &call->held->waiter))
		call_resume(call);
}

/* A call that was never on the list yet gets all that it needs for that. */
static int keep(struct call *call, struct call **ret_kept)
{
	int r;

	call->held = calloc(1, sizeof(*call->held));
	if (!call->held)
		return -ENOMEM;
	call->held->waiter.ready = on_ready;
	call->group = WORK_RUNS;
	call->is_interruptible = true;
	r = call_keep(call, ret_kept);
	if (r < 0)
		free(call->held);
	call->held = NULL; /* the kept call's */
	return r;
}

/* Returns 0 when somebody else has the call from here on. */
static int list(struct call *kept, const struct wish *wish)
{
	struct waiter *waiter = &kept->held->waiter;
	struct fs *fs = kept->fs;
	int r;

	kept->held->call = kept;
	pthread_mutex_lock(&fs->held_lock);
	r = wait_add(fs->engine, waiter, &kept->caller, wish->name.id, wish->kind, wish->name.name);
	if (r == 0 && atomic_load(&kept->is_cancelled) && wait_remove(fs->engine, waiter))
		r = -EINTR;
	pthread_mutex_unlock(&fs->held_lock);
	return r;
}

static int hold(struct call *call, const struct wish *wish)
{
	struct call *kept = call;
	int r;

	if (!call->may_block) {
		r = keep(call, &kept);
		if (r < 0)
			return r;
	}
	r = list(kept, wish);
	if (r == 0)
		return CALL_HELD;
	if (kept == call)
		return r;
	/* It is on the heap now: a worker finds out the same once more, and answers. */
	call_resume(kept);
	return CALL_HELD;
}

/* Waits until who listed the call has seen the last of it. */
static void pass_lock(struct fs *fs)
{
	pthread_mutex_lock(&fs->held_lock);
	pthread_mutex_unlock(&fs->held_lock);
}

static bool is_loaded(struct handle *handle)
{
	bool is_loaded;

	pthread_mutex_lock(&handle->lock);
	is_loaded = handle->is_loaded;
	pthread_mutex_unlock(&handle->lock);
	return is_loaded;
}

/* In a worker. What was read once is what this descriptor reads until its close. */
static int load(struct call *call, struct handle *handle)
{
	int r = 0;

	pthread_mutex_lock(&handle->lock);
	if (!handle->is_loaded)
		r = runfile_load(call, handle->node->place, handle->node->name, handle);
	if (r == 0)
		handle->is_loaded = true;
	pthread_mutex_unlock(&handle->lock);
	return r;
}

static int read_loaded(struct call *call, struct handle *handle)
{
	call_shield(call);
	return files_read_bytes(call, handle);
}

/* It is there. */
static int read_now(struct call *call, struct handle *handle)
{
	int r;

	if (!call->may_block) {
		call->group = WORK_RUNS;
		return -EAGAIN;
	}
	r = load(call, handle);
	return r < 0 ? r : read_loaded(call, handle);
}

/* It is not there yet. Returns -EALREADY when it came meanwhile. */
static int read_later(struct call *call, const struct wish *wish)
{
	if (call->file.flags & O_NONBLOCK) {
		call_fail(call, -EAGAIN); /* as a runner's result, this would ask for a worker */
		return 0;
	}
	if (atomic_load(&call->is_cancelled))
		return -EINTR;
	return hold(call, wish);
}

int held_read(struct call *call)
{
	struct handle *handle = handle_of(&call->file);
	struct wish wish;
	int r;

	if (call->held)
		pass_lock(call->fs);
	if (is_loaded(handle))
		return read_loaded(call, handle);
	make_wish(handle, &wish);
	do {
		r = wait_look(call->fs->engine, wish.name.id, wish.kind, wish.name.name);
		if (r == 0)
			r = read_now(call, handle);
		else if (r == -EAGAIN)
			r = read_later(call, &wish);
	} while (r == -EALREADY);
	if (r == -EINTR && atomic_load(&call->fs->is_draining))
		return -ESHUTDOWN;
	return r;
}
