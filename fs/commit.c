/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the moments at which a file in a box is judged:
 *
 *     plain name, closed or synced     prepare and commit; the verdict is the answer
 *     dot name, closed                 prepare, remember what came of it, answer 0
 *     dot name renamed to a plain one  prepare what is new, commit; the verdict is the answer
 *     plain name, closed for good      commit what is not judged, although nobody hears it
 *
 * Invariant: whoever closes, syncs or renames last hears the verdict on the bytes as they are then.
 * A close without a new byte gets the last verdict again, since the one that heard it first may
 * have been a child that closed its copy of the descriptor.
 *
 * Half of an archive is found out, and does no harm. Half of an input is an input like any other,
 * so where the bytes may be any, not every close counts:
 *
 *     by the process that opened the file    commits
 *     by another one, while that runs        does not: a child that is started while the file is
 * open closes its copy, at any time by a task that a signal ends           does not; if it is the
 * opener's, nothing does any more by the kernel, after the last one      commits what the others
 * left, also when that is empty
 */
#include "fs/commit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "fs/dropbox.h"
#include "fs/handle.h"
#include "fs/task.h"

#define AWAITING_MAX 4
#define AWAIT_TRIES 250
#define AWAIT_NS (2l * 1000 * 1000)

/* The first time: in whose threads the call judges, and whether a signal may end that. */
static void begin(struct call *call, const struct box_kind *kind)
{
	if (call->may_block)
		return;
	call->group = kind->group;
	call->is_interruptible = kind->is_interruptible;
}

/* A write did not get through, so these are not the bytes that were meant. */
static int refuse_spoiled(const struct spool *spool, struct reason *reason)
{
	const struct box_kind *kind = spool->kind;

	if (spool->write_error == -EFBIG)
		return reason_set(reason, EFBIG, kind->too_large,
				  "the %s has more than %s%llu bytes", kind->noun, kind->limit_name,
				  (unsigned long long)kind->limit(spool->fs));
	if (spool->write_error == -ENOSPC)
		return reason_set(reason, ENOSPC, "store_full",
				  "no space left in the state directory while the %s was "
				  "written; free some and send it again",
				  kind->noun);
	return reason_set(reason, -spool->write_error, "store_failed",
			  "the %s could not be written into the state directory: %s", kind->noun,
			  strerror(-spool->write_error));
}

static bool is_prepared(const struct spool *spool)
{
	return spool->prepared_changes == spool->changes &&
	       (spool->prepared || spool->prepare_error);
}

/* Prepares the bytes as they are now, or remembers from last time what came of it. */
static int prepare(struct call *call, struct spool *spool, struct reason *reason)
{
	int r = 0;

	if (is_prepared(spool)) {
		*reason = spool->prepare_reason;
		return spool->prepare_error;
	}
	spool_forget_prepared(spool);
	if (spool->write_error)
		r = refuse_spoiled(spool, reason);
	else if (spool->kind->is_interruptible && atomic_load(&call->is_cancelled))
		r = reason_set(reason, EINTR, "cancelled",
			       "the copy was interrupted; nothing is stored");
	else if (spool->kind->prepare)
		r = spool->kind->prepare(call, spool, reason);
	if (r == -EINTR || r == -ENOMEM)
		return r;
	spool->prepare_error = r;
	spool->prepare_reason = *reason;
	spool->prepared_changes = spool->changes;
	return r;
}

/* The whole way: the verdict, and its receipt under `text`. */
static int judge(struct call *call, struct spool *spool, const char *text,
		 const struct caller *caller)
{
	const struct box_kind *kind = spool->kind;
	struct reason reason = {0};
	int r = prepare(call, spool, &reason);

	if (r == 0) {
		r = kind->commit(call, spool, text, caller, &reason);
		if (r == 0)
			atomic_store(&spool->is_committed, true);
	}
	if (r < 0 && kind->failed)
		kind->failed(call->fs, kind, text, caller, &reason);
	atomic_store(&spool->has_verdict, true);
	if (r != -EINTR && r != -ENOMEM) {
		spool->verdict = r;
		spool->judged_changes = spool->changes;
	}
	return r;
}

static int answer(struct call *call, int error)
{
	call_shield(call);
	fuse_reply_err(call->request, -error);
	return 0;
}

/* Whether a close counts. */
static bool is_final(const struct call *call, struct spool *spool)
{
	pid_t closer;
	bool is_own, is_dying;

	if (!spool->kind->takes_any_bytes)
		return true;
	closer = task_process(call->caller.pid);
	is_own = !closer || !spool->process || closer == spool->process;
	is_dying = task_is_dying(call->caller.pid);
	if (is_own && is_dying)
		atomic_store(&spool->is_orphaned, true);
	atomic_store(&spool->is_cut_off, is_dying);
	if (is_dying || atomic_load(&spool->is_orphaned))
		return false;
	return is_own || !task_is_running(spool->process);
}

static int close_plain(struct call *call, struct spool *spool)
{
	if (atomic_load(&spool->is_committed))
		return answer(call, 0);
	if (atomic_load(&spool->size) == 0 && !spool->write_error) {
		atomic_store(&spool->is_closed_empty, true);
		return answer(call, 0);
	}
	if (spool->judged_changes == spool->changes)
		return answer(call, spool->verdict);
	if (!call->may_block)
		return -EAGAIN;
	return answer(call, judge(call, spool, spool->name, &spool->caller));
}

/* Without a verdict, but a signal that stops the preparing is told to the one who waits. */
static int close_kept(struct call *call, struct spool *spool)
{
	struct reason reason = {0};

	if (!spool->kind->prepare || !atomic_load(&spool->is_kept) ||
	    atomic_load(&spool->size) == 0 || is_prepared(spool))
		return answer(call, 0);
	if (!call->may_block)
		return -EAGAIN;
	return answer(call, prepare(call, spool, &reason) == -EINTR ? -EINTR : 0);
}

int commit_flush(struct call *call)
{
	struct handle *handle = handle_of(&call->file);
	int r;

	if (handle->kind != HANDLE_SPOOL || !handle->is_writer)
		return answer(call, 0);
	begin(call, handle->spool->kind);
	r = spool_turn_begin(call, handle->spool);
	if (r != 0)
		return r;
	if (handle->spool->is_dot)
		return close_kept(call, handle->spool);
	if (!is_final(call, handle->spool))
		return answer(call, 0);
	return close_plain(call, handle->spool);
}

int commit_fsync(struct call *call)
{
	struct handle *handle = handle_of(&call->file);
	int r;

	if (handle->kind != HANDLE_SPOOL || !handle->is_writer)
		return answer(call, 0);
	begin(call, handle->spool->kind);
	r = spool_turn_begin(call, handle->spool);
	if (r != 0)
		return r;
	if (handle->spool->is_dot || atomic_load(&handle->spool->size) == 0)
		return answer(call, 0);
	return close_plain(call, handle->spool);
}

int commit_now(struct call *call, struct spool *spool)
{
	return judge(call, spool, spool->name, &spool->caller);
}

/* Whether what is closed for good was never judged as it is, and was meant to be. */
static bool is_left_over(const struct spool *spool)
{
	if (spool->write_error || atomic_load(&spool->is_committed) ||
	    atomic_load(&spool->is_cut_off) || atomic_load(&spool->is_orphaned))
		return false;
	if (atomic_load(&spool->size) == 0)
		return !atomic_load(&spool->has_verdict);
	return spool->judged_changes != spool->changes;
}

/* With the turn, and without the handle. */
static int settle(struct call *call)
{
	struct spool *spool = call->spool;

	if (!call->may_block)
		return -EAGAIN;
	if (is_left_over(spool))
		commit_now(call, spool);
	atomic_store(&spool->is_settling, false);
	return answer(call, 0);
}

static bool is_left_empty(const struct handle *handle)
{
	return handle->is_fresh && atomic_load(&handle->spool->size) == 0;
}

static int release(struct call *call, struct handle *handle)
{
	handle_put(call->fs, handle);
	return answer(call, 0);
}

int commit_release(struct call *call)
{
	struct handle *handle = handle_of(&call->file);
	struct spool *spool = handle->spool;
	int r;

	if (handle->kind != HANDLE_SPOOL || !handle->is_writer || spool->is_dot)
		return release(call, handle);
	if (!spool->kind->takes_any_bytes) {
		if (is_left_empty(handle))
			spool->kind->note_empty(call->fs, spool);
		return release(call, handle);
	}
	begin(call, spool->kind);
	r = spool_turn_begin(call, spool);
	if (r == CALL_HELD)
		return r;
	if (r < 0 || !is_left_over(spool) || (atomic_load(&spool->size) == 0 && !handle->is_fresh))
		return release(call, handle);
	/* The turn has a reference of its own, and the handle must go, whoever runs the rest. */
	atomic_store(&spool->is_settling, true);
	handle_put(call->fs, handle);
	call->run = settle;
	return settle(call);
}

/* The release is on its way, or a duplicate of the descriptor was closed and it is not. */
static void await_release(struct fs *fs, const struct spool *spool)
{
	static const struct timespec pause = {0, AWAIT_NS};

	if (atomic_fetch_add(&fs->awaiting, 1) < AWAITING_MAX)
		for (int i = 0; i < AWAIT_TRIES && !atomic_load(&spool->is_settling) &&
				!atomic_load(&spool->has_verdict) && !atomic_load(&spool->size);
		     i++)
			nanosleep(&pause, NULL);
	atomic_fetch_sub(&fs->awaiting, 1);
}

int commit_await(struct call *call, const struct box_kind *kind, const char *leaf)
{
	struct spool *spool = call->has_turn ? NULL : spool_find_closing(call->fs, kind, leaf);
	int r = 0;

	if (!spool)
		return -ENOENT;
	if (!call->may_block) {
		call->group = kind->group;
		r = -EAGAIN;
	} else {
		await_release(call->fs, spool);
		if (atomic_load(&spool->is_settling))
			r = spool_turn_begin(call, spool);
	}
	spool_close(call->fs, spool);
	return r;
}

static bool is_taken(struct call *call, const struct box_kind *kind, const char *text)
{
	struct spool *open = spool_find_open(call->fs, kind, text, NULL);
	struct stat attr;

	if (open) {
		spool_close(call->fs, open);
		return true;
	}
	return kind->describe(call, kind, text, &attr) == 0;
}

static int rename_to_dot(struct call *call, struct spool *spool, const char *text)
{
	struct spool *replaced = spool_find_kept(call->fs, spool->kind, text);
	int r = 0;

	if (replaced) {
		if (call->flags & RENAME_NOREPLACE)
			r = -EEXIST;
		else
			r = dropbox_check_owner(call, replaced);
		spool_close(call->fs, replaced);
	}
	if (r < 0)
		return r;
	spool_rename(call->fs, spool, text);
	return answer(call, 0);
}

/* The rename that commits. The turn is kept until the answer, so nobody writes in between. */
static int rename_to_plain(struct call *call, struct spool *spool, const char *text)
{
	int r;

	r = spool_turn_begin(call, spool);
	if (r != 0)
		return r;
	if (!call->may_block) {
		if (spool->kind->prepare && is_prepared(spool))
			call->group = WORK_QUICK;
		return -EAGAIN;
	}
	if ((call->flags & RENAME_NOREPLACE) && is_taken(call, spool->kind, text))
		return -EEXIST;
	r = judge(call, spool, text, &call->caller);
	if (r == 0)
		spool_unlink(call->fs, spool);
	return answer(call, r);
}

static int rename_kept(struct call *call, const struct box_file *from, const struct box_file *to)
{
	struct spool *spool = spool_find_kept(call->fs, from->kind, from->text);
	int r;

	if (!spool)
		return -ENOENT;
	r = dropbox_check_owner(call, spool);
	if (r == 0)
		r = from->kind->check_rename(call, from->kind, from->text, to->text);
	if (r == 0)
		r = box_is_dot(to->text) ? rename_to_dot(call, spool, to->text)
					 : rename_to_plain(call, spool, to->text);
	spool_close(call->fs, spool);
	return r;
}

int commit_rename(struct call *call)
{
	struct box_file from, to;
	struct node parent;
	int r;

	node_resolve(call->fs->nodes, call->node, &parent);
	r = box_file_in(&parent, call->name, &from);
	if (r < 0)
		return r;
	if (call->flags & ~(unsigned)RENAME_NOREPLACE)
		return -EINVAL;
	r = box_file_in(&parent, call->text, &to);
	if (r < 0)
		return r;
	begin(call, from.kind);
	if (!box_is_dot(from.text) && !call->may_block)
		return -EAGAIN;
	if (!box_is_dot(from.text))
		return is_taken(call, from.kind, from.text) ? -EPERM : -ENOENT;
	return rename_kept(call, &from, &to);
}
