/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the requests that are under way. Invariant: a kept call is on fs->calls from call_keep to
 * call_end, and nobody touches it after its answer but call_end.
 */
#include "fs/call.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "fs/held.h"
#include "fs/spool.h"

void call_init(struct call *call, fuse_req_t request, int (*run)(struct call *), fuse_ino_t node,
	       const char *name)
{
	const struct fuse_ctx *context = fuse_req_ctx(request);

	memset(call, 0, sizeof(*call));
	call->fs = fuse_req_userdata(request);
	call->request = request;
	call->run = run;
	call->group = WORK_QUICK;
	call->node = node;
	call->name = name;
	call->caller = (struct caller){
		.uid = context->uid,
		.gid = context->gid,
		.pid = context->pid,
	};
}

void call_fail(struct call *call, int error)
{
	call_shield(call);
	fuse_reply_err(call->request, -error);
}

void call_start(struct call *call)
{
	int r = call->run(call);

	if (r == -EAGAIN) {
		call_defer(call);
		return;
	}
	if (r < 0)
		call_fail(call, r);
	spool_turn_end(call);
}

static size_t copy_text(char *copies, const char **text)
{
	size_t size;

	if (!*text)
		return 0;
	size = strlen(*text) + 1;
	memcpy(copies, *text, size);
	*text = copies;
	return size;
}

static int copy_arguments(struct call *call)
{
	size_t size = call->data ? call->size : 0;
	char *copies;

	size += call->name ? strlen(call->name) + 1 : 0;
	size += call->text ? strlen(call->text) + 1 : 0;
	copies = malloc(size + 1);
	if (!copies)
		return -ENOMEM;
	call->copies = copies;
	copies += copy_text(copies, &call->name);
	copies += copy_text(copies, &call->text);
	if (call->data) {
		memcpy(copies, call->data, call->size);
		call->data = copies;
	}
	return 0;
}

/*
 * Called with the request's lock held: it only marks, and moves the call where it is looked at
 * soon.
 */
static void on_interrupt(fuse_req_t request, void *context)
{
	struct call *call = context;

	(void)request;
	atomic_store(&call->is_cancelled, true);
	if (call->held)
		held_end(call); /* and no more: the call may be over now */
	else
		workers_hurry(call->fs->workers, &call->work);
}

static void run_kept(struct work *work);

int call_keep(const struct call *call, struct call **ret_call)
{
	struct fs *fs = call->fs;
	struct call *kept = malloc(sizeof(*kept));
	int r;

	if (!kept)
		return -ENOMEM;
	*kept = *call;
	kept->may_block = true;
	kept->work.run = run_kept;
	r = copy_arguments(kept);
	if (r < 0) {
		free(kept);
		return r;
	}
	pthread_mutex_lock(&fs->calls_lock);
	kept->previous = NULL;
	kept->next = fs->calls;
	if (kept->next)
		kept->next->previous = kept;
	fs->calls = kept;
	if (atomic_load(&fs->is_draining))
		atomic_store(&kept->is_cancelled, true);
	pthread_mutex_unlock(&fs->calls_lock);
	if (kept->is_interruptible)
		fuse_req_interrupt_func(kept->request, on_interrupt, kept);
	*ret_call = kept;
	return 0;
}

void call_end(struct call *call)
{
	struct fs *fs = call->fs;

	pthread_mutex_lock(&fs->calls_lock);
	if (call->previous)
		call->previous->next = call->next;
	else
		fs->calls = call->next;
	if (call->next)
		call->next->previous = call->previous;
	pthread_mutex_unlock(&fs->calls_lock);
	free(call->copies);
	free(call->held);
	free(call);
}

static void run_kept(struct work *work)
{
	struct call *call = (struct call *)((char *)work - offsetof(struct call, work));
	int r = call->run(call);

	if (r == CALL_HELD)
		return;
	if (r < 0)
		call_fail(call, r);
	spool_turn_end(call);
	call_end(call);
}

int call_submit(struct call *call)
{
	return workers_submit(call->fs->workers, call->group, &call->work);
}

void call_resume(struct call *call)
{
	if (workers_resubmit(call->fs->workers, call->group, &call->work) == 0)
		return;
	call_fail(call, -ESHUTDOWN);
	call_end(call);
}

void call_defer(struct call *call)
{
	struct call *kept = NULL;
	int r = call_keep(call, &kept);

	if (r == 0)
		r = call_submit(kept);
	if (r == 0)
		return;
	if (kept) {
		call_shield(kept);
		call_end(kept);
	}
	fuse_reply_err(call->request, -r);
	spool_turn_end(call);
}

void call_shield(struct call *call)
{
	if (call->is_interruptible && call->may_block)
		fuse_req_interrupt_func(call->request, NULL, NULL);
	call->is_interruptible = false;
}

void call_reply_entry(struct call *call, const struct fuse_entry_param *entry)
{
	call_shield(call);
	if (fuse_reply_entry(call->request, entry) < 0)
		node_forget(call->fs->nodes, entry->ino, 1);
}

void call_cancel_all(struct fs *fs)
{
	pthread_mutex_lock(&fs->calls_lock);
	atomic_store(&fs->is_draining, true);
	for (struct call *call = fs->calls; call; call = call->next) {
		atomic_store(&call->is_cancelled, true);
		if (call->held)
			held_end(call); /* a worker answers it: not before this lock is free */
		else
			workers_hurry(fs->workers, &call->work);
	}
	pthread_mutex_unlock(&fs->calls_lock);
}
