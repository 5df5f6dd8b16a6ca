/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_RELOAD_H
#define ENGINE_RELOAD_H

#include "engine/engine.h"

/*
 * Rebuilds the catalog from the store: every version whose row, index and manifest are intact, in
 * deploy order; then the routes. What is damaged goes to the quarantine and keeps nothing else out.
 * Returns -EIO when a table can't be read, -ENOMEM.
 */
int reload_versions(struct engine *engine, struct reason *reason);
int reload_routes(struct engine *engine, struct reason *reason);

/*
 * Judges one stored version as the reload does: its index must hash to it, its manifest must parse and
 * name the type. Fills in manifest and has_executable. Shared with fsck.
 * Returns -EBADMSG with the reason, or -ENOMEM.
 */
int reload_judge(struct store *store, const struct version_row *row, struct manifest *ret_manifest,
		 bool *ret_has_executable, struct reason *reason);

#endif
