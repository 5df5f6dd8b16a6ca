/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_PIN_H
#define ENGINE_PIN_H

#include "engine/engine.h"
#include "store/journal.h"

/* Versions and the runs that are pinned to them, as the rest of the engine sees it. */

/*
 * A version was loaded or repaired (`is_good`), or found damaged: runs that it strands or recovers
 * are looked at. Never blocks.
 */
void pin_version_changed(struct engine *engine, const char *type, const struct digest *version,
			 bool is_good);

/* The ID of an unfinished run that pins a version; "" when there is none. */
void pin_find_run(struct engine *engine, const char *type, const struct digest *version,
		  char ret_id[RUN_ID_MAX + 1]);

#endif
