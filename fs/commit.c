/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the moments at which an archive is judged:
 *
 *     plain name, closed or synced     decode and commit; the verdict is the answer
 *     dot name, closed                 decode, remember what came of it, answer 0
 *     dot name renamed to a plain one  decode what is new, commit; the verdict is the answer
 *
 * Invariant: whoever closes, syncs or renames last hears the verdict on the bytes as they are then.
 * A close without a new byte gets the last verdict again, since the one that heard it first may
 * have been a child that closed its copy of the descriptor.
 */
#include "fs/commit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/permit.h"
#include "engine/receipt.h"
#include "fs/dropbox.h"
#include "fs/handle.h"

void commit_init(struct call *call)
{
	call->group = WORK_DECODE;
	call->is_interruptible = true;
}

void commit_note_empty(struct fs *fs, struct spool *spool)
{
	struct reason reason = {0};

	if (atomic_exchange(&spool->has_verdict, true))
		return;
	reason_set(&reason, EBADMSG, "archive_empty",
		   "the file was closed with nothing written into it; nothing is deployed");
	deploy_failed(fs->engine, spool->box, spool->name, &spool->caller, &reason);
}

/* A write did not get through, so these are not the bytes that were meant. */
static int refuse_spoiled(struct call *call, const struct spool *spool, struct reason *reason)
{
	uint64_t limit = call->fs->engine->options.limits.archive_bytes;

	if (spool->write_error == -EFBIG)
		return reason_set(reason, EFBIG, "archive_too_large",
				  "the archive has more than max_archive_bytes=%llu bytes",
				  (unsigned long long)limit);
	if (spool->write_error == -ENOSPC)
		return reason_set(reason, ENOSPC, "store_full",
				  "no space left in the state directory while the archive was "
				  "written; free some and send it again");
	return reason_set(reason, -spool->write_error, "store_failed",
			  "the archive could not be written into the state directory: %s",
			  strerror(-spool->write_error));
}

static bool is_prepared(const struct spool *spool)
{
	return spool->prepared_changes == spool->changes &&
	       (spool->prepared || spool->prepare_error);
}

/* Decodes the bytes as they are now, or remembers from last time what came of it. */
static int prepare(struct call *call, struct spool *spool, struct reason *reason)
{
	int r;

	if (is_prepared(spool)) {
		*reason = spool->prepare_reason;
		return spool->prepare_error;
	}
	spool_forget_prepared(spool);
	if (spool->write_error)
		r = refuse_spoiled(call, spool, reason);
	else if (atomic_load(&call->is_cancelled))
		r = reason_set(reason, EINTR, "cancelled",
			       "the copy was interrupted; nothing is stored");
	else
		r = deploy_prepare(call->fs->engine, spool->fd, atomic_load(&spool->size),
				   &call->is_cancelled, &spool->prepared, reason);
	if (r == -EINTR || r == -ENOMEM)
		return r;
	spool->prepare_error = r;
	spool->prepare_reason = *reason;
	spool->prepared_changes = spool->changes;
	return r;
}

/* The whole way: the verdict, and its receipt under `name`. */
static int judge(struct call *call, struct spool *spool, const char *name,
		 const struct caller *caller)
{
	struct engine *engine = call->fs->engine;
	struct reason reason = {0};
	int r = prepare(call, spool, &reason);

	if (r == 0) {
		r = deploy_commit(engine, spool->prepared, spool->box, name, caller, &reason);
		if (r == 0) {
			spool->prepared = NULL;
			atomic_store(&spool->is_committed, true);
		}
	}
	if (r < 0)
		deploy_failed(engine, spool->box, name, caller, &reason);
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

/* Without a verdict, but a signal that stops the decoding is told to the one who waits. */
static int close_kept(struct call *call, struct spool *spool)
{
	struct reason reason = {0};

	if (!atomic_load(&spool->is_kept) || atomic_load(&spool->size) == 0 || is_prepared(spool))
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
	r = spool_turn_begin(call, handle->spool);
	if (r != 0)
		return r;
	if (handle->spool->is_dot || atomic_load(&handle->spool->size) == 0)
		return answer(call, 0);
	return close_plain(call, handle->spool);
}

static bool is_taken(struct fs *fs, enum box box, const char *name)
{
	struct receipt receipt = {0};
	struct spool *open = spool_find_open(fs, box, name, NULL);

	if (open) {
		spool_close(fs, open);
		return true;
	}
	return receipt_stat(fs->engine, box, name, &receipt) == 0;
}

static int rename_to_dot(struct call *call, struct spool *spool)
{
	struct spool *replaced = spool_find_kept(call->fs, spool->box, call->text);
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
	spool_rename(call->fs, spool, call->text);
	return answer(call, 0);
}

/* The rename that deploys. The turn is kept until the answer, so nobody writes in between. */
static int rename_to_plain(struct call *call, struct spool *spool)
{
	struct reason reason = {0};
	int r = permit_deploy(call->fs->engine, &call->caller, box_name(spool->box), call->text,
			      &reason);

	if (r < 0)
		return r;
	if ((call->flags & RENAME_NOREPLACE) && is_taken(call->fs, spool->box, call->text))
		return -EEXIST;
	r = spool_turn_begin(call, spool);
	if (r != 0)
		return r;
	if (!call->may_block) {
		if (is_prepared(spool))
			call->group = WORK_QUICK;
		return -EAGAIN;
	}
	r = judge(call, spool, call->text, &call->caller);
	if (r == 0)
		spool_unlink(call->fs, spool);
	return answer(call, r);
}

static int refuse_plain_source(struct call *call, enum box box)
{
	return is_taken(call->fs, box, call->name) ? -EPERM : -ENOENT;
}

int commit_rename(struct call *call)
{
	struct spool *spool;
	struct node parent;
	enum box box;
	int r;

	node_resolve(call->fs->nodes, call->node, &parent);
	if (!dropbox_of(&parent, &box))
		return -EPERM;
	if (call->flags & ~(unsigned)RENAME_NOREPLACE)
		return -EINVAL;
	if (strlen(call->text) > NODE_NAME_MAX)
		return -ENAMETOOLONG;
	if (call->name[0] != '.')
		return refuse_plain_source(call, box);
	spool = spool_find_kept(call->fs, box, call->name);
	if (!spool)
		return -ENOENT;
	r = dropbox_check_owner(call, spool);
	if (r == 0)
		r = call->text[0] == '.' ? rename_to_dot(call, spool)
					 : rename_to_plain(call, spool);
	spool_close(call->fs, spool);
	return r;
}
