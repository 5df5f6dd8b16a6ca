/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_SUPERVISOR_H
#define ENGINE_SUPERVISOR_H

#include "engine/engine.h"
#include "store/journal.h"

/*
 * What makes runs go on: threads that look at a run whenever something happened to it (it was
 * started, its attempt ended, its timer is due, somebody commanded it). What a look does is
 * attend.c.
 */

/* Starts the threads; no attempt is started before supervisor_begin. Returns -errno. */
int supervisor_open(struct engine *engine);

/* Waits until nothing is left to be looked at: for the mount, before it is ready. */
void supervisor_settle(struct engine *engine);

/* The mount serves requests: attempts may start. */
void supervisor_begin(struct engine *engine);

/*
 * Ends all attempts, durably, and waits for their processes; starts no more. They resume at the
 * next mount. Context: while requests of the mount are still served. Idempotent.
 */
void supervisor_stop(struct engine *engine);

/* Ends the threads. After supervisor_stop. NULL supervisors are accepted. */
void supervisor_close(struct engine *engine);

/* How many attempts run, for status. */
uint64_t supervisor_running(struct engine *engine);

#endif
