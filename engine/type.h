/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_TYPE_H
#define ENGINE_TYPE_H

#include <stdbool.h>
#include <stddef.h>

#include "store/rows.h"

/*
 * Whether a name can be a type: [A-Za-z0-9_@.-]{1,128}, no leading dot, not 64 hex digits (DESIGN
 * section 3; the same charset is that of run IDs).
 */
bool type_is_valid(const char *name, size_t length);

/* The type of an entry_module: `/` becomes `@`. Returns -EINVAL when that is no valid type. */
int type_from_module(const char *module, size_t length, char ret_type[TYPE_MAX + 1]);

#endif
