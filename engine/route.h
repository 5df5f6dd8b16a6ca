/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_ROUTE_H
#define ENGINE_ROUTE_H

#include "engine/engine.h"

/*
 * Points `type` at the version that `target` means: "../packages/TYPE/VERSION" or any path whose last
 * part is one (then the part before it, where there is one, must be TYPE), a bare version, or a
 * unique prefix of at least 8 digits. Durable on return, logged, seen by every reader at once.
 * Returns -EACCES, -EINVAL (no version's name, ambiguous, another type's version; code
 * route_invalid), -ENOENT (not loaded; version_absent), -ENOSPC, -EIO.
 */
int route_set(struct engine *engine, const struct caller *caller, const char *type,
	      const char *target, struct reason *reason);

/* Removes the route, durably; versions stay. Returns -EACCES, -ENOENT, -ENOSPC, -EIO. */
int route_remove(struct engine *engine, const struct caller *caller, const char *type,
		 struct reason *reason);

#endif
