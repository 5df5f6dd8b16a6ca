/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_START_H
#define ENGINE_START_H

#include "engine/engine.h"

/* Starting runs: start/TYPE/ID and start/TYPE/VERSION/ID. */

#define INPUT_BYTES_MAX (64u << 20)

/*
 * What can be known before the first byte: `version` is NULL for the routed one, `id` while the file
 * has a temporary name: then all but the ID is judged.
 * Returns 0, or -EACCES not_permitted (start_group; an ID that is another user's), -ENOENT
 * route_missing or version_absent, -ENOEXEC executable_missing, -EINVAL name_invalid, -EEXIST
 * run_exists (with another type or version), -EIO content_damaged, -EPERM (a mount without
 * privileges starts runs of its own user only). Never blocks.
 */
int start_check(struct engine *engine, const struct caller *caller, const char *type,
		const struct digest *version, const char *id, struct reason *reason);

/*
 * Starts a run with `size` bytes of `fd` as its input: durable on return. The same start again is a
 * success. Returns as start_check, and -EFBIG input_too_large, -EEXIST run_exists (another input),
 * -ENOSPC, -EIO, -ENOMEM. Context: blocks for a commit.
 */
int start_run(struct engine *engine, const struct caller *caller, const char *type,
	      const struct digest *version, const char *id, int fd, uint64_t size,
	      struct reason *reason);

#endif
