/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_RECORD_H
#define ENGINE_RECORD_H

#include "engine/engine.h"

/*
 * What gets recorded in a run: steps and timers, by processes of its current attempt alone, and
 * signals, by the run's user. All that say "recorded" or "delivered" are durable on return.
 * Functions that block for a commit: step_record, timer_arm, signal_deliver, and step_ask,
 * step_declare when they find a determinism violation: that ends the attempt and fails the run.
 *
 * Why something is refused is also noted in the log.
 *
 * Codes: -EPERM attempt_required (the caller is no process of the current attempt), -EILSEQ
 * determinism_violation, -EEXIST, -EINVAL name_invalid, -EFBIG value_too_large, -ENOENT (no such
 * run), -EBUSY run_finished, -ENOSPC, -EIO, -ENOMEM.
 */

#define STEP_BYTES_MAX (64u << 20)
#define SIGNAL_BYTES_MAX (1u << 20)
#define TIMER_TEXT_MAX 64

/*
 * The attempt asks for step `name`: it makes steps/.NAME. A name that this attempt recorded or
 * asked for already is a violation, unless it gave up before (step_abandon). `ret_attempt` (or NULL)
 * becomes the attempt's number.
 */
int step_ask(struct engine *engine, const struct caller *caller, const char *id, const char *name,
	     uint32_t *ret_attempt, struct reason *reason);

/*
 * The command of a step that was asked for (the xattr user.aionfs.command). Another one than what
 * was recorded under the name is a violation; both are in the reason and in the run's error.
 */
int step_declare(struct engine *engine, const struct caller *caller, const char *id,
		 const char *name, const char *command, size_t length, struct reason *reason);

/*
 * Records `size` bytes of `fd` as the step's result: steps/.NAME is renamed to steps/NAME. A
 * recorded name is -EEXIST, and nothing is overwritten.
 */
int step_record(struct engine *engine, const struct caller *caller, const char *id,
		const char *name, int fd, uint64_t size, struct reason *reason);

/* steps/.NAME, which that attempt made, was removed: it may ask for the step again. */
void step_abandon(struct engine *engine, const char *id, const char *name, uint32_t attempt);

/* Whether the caller is a process of the run's current attempt. Returns 0, -EPERM, -ENOENT. */
int step_check_caller(struct engine *engine, const struct caller *caller, const char *id,
		      struct reason *reason);

/*
 * Arms a timer: `text` is 90s, 36h, 30d (s, m, h, d; whole numbers) or @UNIX_SECONDS, with or
 * without a newline. The same text again is a success, another -EEXIST.
 */
int timer_arm(struct engine *engine, const struct caller *caller, const char *id, const char *name,
	      const char *text, size_t length, struct reason *reason);

/* Judges a signal's sender and the run's state, before the first byte. Never blocks. */
int signal_check(struct engine *engine, const struct caller *caller, const char *id,
		 const char *name, struct reason *reason);

/* Delivers. The same name with the same bytes again is a success, with others -EEXIST. */
int signal_deliver(struct engine *engine, const struct caller *caller, const char *id,
		   const char *name, int fd, uint64_t size, struct reason *reason);

#endif
