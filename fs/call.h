/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_CALL_H
#define FS_CALL_H

#include "fs/fs.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "fs/node.h"
#include "engine/work.h"

/*
 * One request of the kernel on its way to its one answer. It begins on the stack of the thread that
 * took it from the kernel and is tried there; what would block is copied to the heap and run by a
 * worker. A runner answers the request itself and returns 0, or answers nothing and returns a
 * negative errno, which is then the answer: so each request is answered exactly once. When it had
 * the turn of a spool, that ends with the answer.
 */
struct fs {
	struct engine *engine;
	struct fs_options options;
	struct node_table *nodes;
	struct workers *workers;
	struct handles *handles;
	struct archives *archives;
	struct boxes *boxes;
	struct links *links;
	struct failures *failures; /* of starts */
	pthread_mutex_t held_lock; /* held.c */
	atomic_uint awaiting;	   /* commit.c */
	pthread_mutex_t calls_lock;
	struct call *calls; /* those on the heap */
	atomic_bool is_draining;
};

/* A runner's result: somebody else has the call now, and will answer and end it. */
#define CALL_HELD 1

/* Times that the kernel may keep an entry or attributes, in seconds. */
#define TIMEOUT_NEVER 0.0
#define TIMEOUT_FOREVER 1e9

struct call {
	struct fs *fs;
	fuse_req_t request;
	int (*run)(struct call *call);
	bool may_block; /* this is a worker; before, -EAGAIN asks for one */
	enum work_group group;
	bool is_interruptible; /* a signal sets `is_cancelled` */

	/* What was asked; each request uses some of it. */
	fuse_ino_t node, new_node;
	const char *name, *text; /* `text`: a new name, or a link's target */
	const void *data;
	size_t size;
	off_t offset;
	unsigned flags;
	mode_t mode;
	struct stat attr;
	struct fuse_file_info file;
	bool has_file;
	struct caller caller;
	uint32_t attempt; /* of a step that is asked for */

	/* Of calls on the heap. */
	atomic_bool is_cancelled;
	struct work work;
	struct call *previous, *next; /* in fs->calls */
	char *copies;
	struct held *held; /* of a read that may be held (held.h); freed with the call */

	/* Of calls that change a spool (spool.h). */
	struct spool *spool;  /* with a reference, once `has_turn` or waiting for it */
	struct call *waiting; /* the next that waits for the same spool */
	bool has_turn;
};

/* Sets up a call on the caller's stack. `node` and `name` are what the request is about. */
void call_init(struct call *call, fuse_req_t request, int (*run)(struct call *), fuse_ino_t node,
	       const char *name);

/* Runs a call here, or in a worker when it says -EAGAIN. The request is answered, now or later. */
void call_start(struct call *call);

/*
 * Copies a call to the heap, with all that it points to, and puts `ret_call` on the list of those
 * that a drain cancels. Returns -ENOMEM, -ESHUTDOWN; then nothing was done.
 */
int call_keep(const struct call *call, struct call **ret_call);

/* Hands a kept call to its group of workers. Returns -EAGAIN (queue full), -ESHUTDOWN. */
int call_submit(struct call *call);

/*
 * The same for a call that was let in before, however long the queue is. Without workers it is
 * answered here. Takes no lock but that of the workers.
 */
void call_resume(struct call *call);

/*
 * Hands a call from the stack to a worker, for what is known to block. Without memory or workers it
 * is answered with the error here.
 */
void call_defer(struct call *call);

/* Ends a kept call after its answer. */
void call_end(struct call *call);

/* From here on no signal touches the call: before its answer, and before its last transaction. */
void call_shield(struct call *call);

/* Answers with an error, by its negative errno. */
void call_fail(struct call *call, int error);

/* Answers with an entry, whose look-up is forgotten again when the kernel does not take it. */
void call_reply_entry(struct call *call, const struct fuse_entry_param *entry);

/* Sets the cancel flag of every kept call, and ends those that are held. */
void call_cancel_all(struct fs *fs);

#endif
