/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_SWEEP_H
#define ENGINE_SWEEP_H

#include "engine/engine.h"

/*
 * Frees versions whose last reference went, away from the thread that dropped it: giving their
 * contents back is a commit.
 */
struct sweep;

/* Starts the thread. Returns -ENOMEM, -EAGAIN. */
int sweep_open(struct engine *engine);

/* Works off what is queued, then ends the thread. NULL is accepted. */
void sweep_close(struct sweep *sweep);

/* The catalog's `gone` callback; `context` is the engine. Never blocks. */
void sweep_version(void *context, struct version *version);

/* Waits until everything that was queued before the call is freed. */
void sweep_wait(struct engine *engine);

#endif
