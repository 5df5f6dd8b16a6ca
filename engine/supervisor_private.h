/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_SUPERVISOR_PRIVATE_H
#define ENGINE_SUPERVISOR_PRIVATE_H

#include <pthread.h>

#include "engine/run_private.h"

/* The supervisor as its two files see it: who is looked at next (supervisor.c), and what is watched
 * for (watcher.c). */

#define ATTENDING 16

struct supervisor {
	struct engine *engine;
	pthread_mutex_t lock;
	pthread_cond_t work, quiet;
	struct run *ready, *ready_last;
	struct run *slots, *slots_last;
	size_t granted; /* taken from `slots` to be attended, and not attended yet */
	size_t attending;
	struct run **heap; /* by due_ns, the earliest in front; [0] unused */
	size_t heap_count, heap_room;
	_Atomic bool has_lost; /* the heap could not grow: everybody is looked at now and then */
	struct process *processes;
	uint64_t running, running_max;
	bool is_ready, is_stopping, is_closing;
	int epoll, timer, wake;
	pthread_t watcher, threads[ATTENDING];
	size_t thread_count;
	bool has_watcher;
};

/*
 * Marks every run that is due at `now_ns`. Returns when the next one is; 0: none.
 */
int64_t supervisor_mark_due(struct supervisor *supervisor, int64_t now_ns);

/* The process has ended: its run is looked at, and it may be freed from here on. */
void supervisor_mark_ended(struct supervisor *supervisor, struct process *process);

/* The thread that watches; `argument` is the supervisor. */
void *watcher_main(void *argument);

#endif
