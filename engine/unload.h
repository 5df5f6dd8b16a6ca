/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_UNLOAD_H
#define ENGINE_UNLOAD_H

#include "engine/engine.h"

/*
 * Unloads a version, durably: its row is gone on return, its contents are freed when its last reader
 * is. Returns -EACCES, -ENOENT, -EBUSY version_routed (the log says so too), -EPERM for an operator
 * package, -ENOSPC, -EIO.
 */
int unload_version(struct engine *engine, const struct caller *caller, const char *type,
		   const struct digest *digest, struct reason *reason);

#endif
