/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_RUNFILE_H
#define FS_RUNFILE_H

#include "engine/runs.h"
#include "fs/handle.h"
#include "fs/rundir.h"

/*
 * Reading what is in a run's directory. Runners for OPEN (`node`, `file` with its flags) of all but
 * the drop boxes there, and READ (`file`, `offset`, `size`) of what grows. Nothing is kept in the
 * page cache: a run's ID may be used again after the run was removed.
 */
int runfile_open(struct call *call);
int runfile_read(struct call *call);

/* Answers OPEN with a recorded value; `text` is its node's. Asks for a worker. */
int runfile_open_value(struct call *call, enum place place, const char *text);

/* Loads a value into a handle, as its text or its content. In a worker. */
int runfile_load(struct call *call, enum place place, const char *text, struct handle *handle);

/* Makes a handle for a node. Returns NULL without memory. */
struct handle *runfile_handle(struct call *call, const struct node *node, enum handle_kind kind);

#endif
