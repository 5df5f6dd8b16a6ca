/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_FOREST_H
#define ENGINE_FOREST_H

#include "engine/engine.h"
#include "engine/tree.h"

/*
 * The parsed indexes of versions in use: made when first asked for, kept within a budget of memory,
 * the least recently used go first. A tree that somebody holds stays.
 */

/* Returns NULL without memory. */
struct forest *forest_new(void);

/* Frees all trees; nobody may hold one. NULL is accepted. */
void forest_free(struct forest *forest);

/*
 * The tree of a version; the caller gives it back with forest_put. The index is loaded, hashed and
 * parsed when it is not cached: that may block. With `cached_only` -EAGAIN says that it would.
 * Returns -EIO (damaged: the quarantine has it), -ENOMEM.
 */
int forest_get(struct engine *engine, struct version *version, bool cached_only,
	       const struct tree **ret_tree, struct reason *reason);
void forest_put(struct engine *engine, struct version *version, const struct tree *tree);

/* The version goes: its tree goes with it. Nobody may hold it. */
void forest_drop(struct engine *engine, struct version *version);

#endif
