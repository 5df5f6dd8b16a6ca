/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_OPERATOR_H
#define ENGINE_OPERATOR_H

#include "engine/engine.h"

/*
 * Loads the packages of options.packages, in order, into a store of their own under STATE/operator
 * that is removed at the unmount (and, after a crash, by the next mount). Each re-points its type's
 * route for this mount only. Returns the first bad one's error, with the file's name in the reason.
 */
int operator_load(struct engine *engine, struct reason *reason);

/* Closes and removes that store. */
void operator_close(struct engine *engine);

#endif
