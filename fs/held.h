/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_HELD_H
#define FS_HELD_H

#include "engine/wait.h"
#include "fs/call.h"

/*
 * Reads of wait/: held, without a thread, until there is something to read. A held call is answered
 * by a worker, which gets it from the one of three that takes it: what it waits for has come (the
 * engine calls `ready`), its reader was interrupted, the mount ends. The engine's list decides
 * which: wait_remove says whether the waiter was still there.
 */
struct held {
	struct waiter waiter;
	struct call *call; /* kept */
};

/* Runner for READ of a HANDLE_WAIT. */
int held_read(struct call *call);

/*
 * Ends the holding of a kept call that has `held`, if it is held right now: its cancel flag, set
 * before, says how it is answered. It may be over then, unless something else keeps it.
 */
void held_end(struct call *call);

#endif
