/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the moments at which a file in a box is judged:
 *
 *     plain name, closed or synced     prepare and commit; the verdict is the answer
 *     dot name, closed                 prepare, remember what came of it, answer 0
 *     dot name renamed to a plain one  prepare what is new, commit; the verdict is the answer
 *     plain name, empty at the last    where empty files count: commit, although nobody hears it
 *     close
 *
 * Invariant: whoever closes, syncs or renames last hears the verdict on the bytes as they are then.
 * A close without a new byte gets the last verdict again, since the one that heard it first may
 * have been a child that closed its copy of the descriptor.
 */
#include "fs/commit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "fs/dropbox.h"
#include "fs/handle.h"
#include "fs/task.h"

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
	else if (atomic_load(&call->is_cancelled))
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

/*
 * Half of an archive is found out; half of anything else is not, so what a task closes because a
 * signal ends it does not count.
 */
static bool is_cut_off(struct call *call, struct spool *spool)
{
	bool is_cut_off = spool->kind->takes_any_bytes && task_is_dying(call->caller.pid);

	atomic_store(&spool->is_dropped, is_cut_off);
	return is_cut_off;
}

static int close_plain(struct call *call, struct spool *spool)
{
	if (atomic_load(&spool->is_committed) || is_cut_off(call, spool))
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

int commit_empty(struct call *call, struct spool *spool)
{
	return judge(call, spool, spool->name, &spool->caller);
}

/* Whether the end of an open file is the end of an empty one that was meant. */
static bool is_left_empty(const struct handle *handle)
{
	const struct spool *spool = handle->spool;

	return handle->kind == HANDLE_SPOOL && handle->is_writer && handle->is_fresh &&
	       !spool->is_dot && atomic_load(&spool->size) == 0;
}

/* With the turn, and without the handle. */
static int settle_empty(struct call *call)
{
	struct spool *spool = call->spool;

	if (!call->may_block)
		return -EAGAIN;
	if (!spool->write_error && !atomic_load(&spool->is_dropped) &&
	    !atomic_load(&spool->has_verdict))
		commit_empty(call, spool);
	atomic_store(&spool->is_settling, false);
	return answer(call, 0);
}

int commit_release(struct call *call)
{
	struct handle *handle = handle_of(&call->file);
	struct spool *spool = handle->spool;
	int r;

	if (!is_left_empty(handle) || spool->kind->note_empty) {
		if (is_left_empty(handle))
			spool->kind->note_empty(call->fs, spool);
		handle_put(call->fs, handle);
		return answer(call, 0);
	}
	begin(call, spool->kind);
	r = spool_turn_begin(call, spool);
	if (r < 0)
		handle_put(call->fs, handle);
	if (r != 0)
		return r;
	/* The turn has a reference of its own, and the handle must go, whoever runs the rest. */
	atomic_store(&spool->is_settling, true);
	handle_put(call->fs, handle);
	call->run = settle_empty;
	return settle_empty(call);
}

/*
 * The kernel tells the last close of a file by a RELEASE of its own, which may be overtaken by the
 * question of whoever has just closed it. It comes within moments, if it comes: an open that a shell
 * holds for the command behind `>` looks the same, and is not waited for much longer.
 */
static int await_last_close(struct call *call, const struct box_kind *kind, const char *leaf)
{
	static const struct timespec moment = {.tv_nsec = 2000000};
	struct spool *spool = spool_find_closed_empty(call->fs, kind, leaf);

	for (int moments = 100; spool && call->may_block && moments > 0; moments--) {
		spool_close(call->fs, spool);
		nanosleep(&moment, NULL);
		spool = spool_find_closed_empty(call->fs, kind, leaf);
	}
	if (!spool)
		return 0;
	spool_close(call->fs, spool);
	return call->may_block ? 0 : -EAGAIN;
}

int commit_await(struct call *call, const struct box_kind *kind, const char *leaf)
{
	struct spool *spool;
	int r = call->has_turn ? 0 : await_last_close(call, kind, leaf);

	if (r != 0 || call->has_turn)
		return r;
	spool = spool_find_settling(call->fs, kind, leaf);
	if (spool) {
		r = spool_turn_begin(call, spool);
		spool_close(call->fs, spool);
	}
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

	if ((call->flags & RENAME_NOREPLACE) && is_taken(call, spool->kind, text))
		return -EEXIST;
	r = spool_turn_begin(call, spool);
	if (r != 0)
		return r;
	if (!call->may_block) {
		if (spool->kind->prepare && is_prepared(spool))
			call->group = WORK_QUICK;
		return -EAGAIN;
	}
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
	if (!box_is_dot(from.text))
		return is_taken(call, from.kind, from.text) ? -EPERM : -ENOENT;
	return rename_kept(call, &from, &to);
}
