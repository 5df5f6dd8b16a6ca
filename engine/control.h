/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_CONTROL_H
#define ENGINE_CONTROL_H

#include "engine/engine.h"

#define CONTROL_TEXT_MAX 4096

/*
 * One command of runs/ID/ctl: "cancel [REASON]", "pause", "resume", "retry", with or without a
 * newline. Durable on return; an attempt that it ends is being ended then.
 * Returns -EINVAL command_unknown, -EBUSY wrong_state (the reason names the state; nothing is
 * appended), -ENOENT, -EACCES, -ENOSPC, -EIO. Context: blocks for a commit.
 */
int control_run(struct engine *engine, const struct caller *caller, const char *id,
		const char *text, size_t length, struct reason *reason);

#endif
