/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_WAIT_H
#define ENGINE_WAIT_H

#include "engine/engine.h"

/*
 * Reads of runs/ID/wait/... that are held until there is something to read. A waiter costs memory
 * and no thread.
 */
struct run;

enum wait_kind {
	WAIT_RESULT,
	WAIT_TIMER,
	WAIT_SIGNAL,
};

struct waiter {
	/* Called once, from any thread and perhaps under locks of the engine: what it waited for is
	 * there, or never will be. Must not block and must not call the engine back. */
	void (*ready)(struct waiter *waiter);

	/* The engine's own. */
	struct run *run; /* with a reference while listed */
	enum wait_kind kind;
	char name[256];
	bool is_listed;
	uint32_t attempt; /* of the run itself, if it is one of its processes that waits; else 0 */
	struct waiter *previous, *next; /* in the run's list */
};

/*
 * Whether it is there now. Returns 0, -EAGAIN (not yet), -ENOENT (no such run), and for a result of
 * a run that ended without one: -EIO failed, -ECANCELED cancelled, -ETIMEDOUT timed out. A timer or
 * a signal of a run that has ended without it is -ECANCELED.
 */
int wait_look(struct engine *engine, const char *id, enum wait_kind kind, const char *name);

/*
 * Lists the waiter, unless what it waits for is there already. Returns 0 (listed: `ready` will be
 * called, or wait_remove takes it back), -EALREADY (look again instead), -ENOENT.
 */
int wait_add(struct engine *engine, struct waiter *waiter, const struct caller *caller,
	     const char *id, enum wait_kind kind, const char *name);

/* Takes a waiter back. Returns whether it was still listed; if not, `ready` has been called. */
bool wait_remove(struct engine *engine, struct waiter *waiter);

#endif
