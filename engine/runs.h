/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_RUNS_H
#define ENGINE_RUNS_H

#include "engine/engine.h"
#include "engine/run.h"

/*
 * The runs of a mount: the table in memory, and every way to look at one. Looking takes a read lock
 * for the time of a copy; it never waits for a commit. Changing a run is in start.h, step.h,
 * timer.h, signal.h, control.h; what happens by itself in supervisor.h.
 */

/* What everybody may see of a run. */
struct run_view {
	char id[RUN_ID_MAX + 1];
	char type[TYPE_MAX + 1];
	struct digest version;
	uint64_t number;
	uid_t uid;
	gid_t gid;
	enum run_status status;
	uint64_t sequence; /* events so far */
	uint32_t attempt, steps, timers, signals;
	int64_t started_ns, changed_ns, deadline_ns;
	bool has_error;
};

/* Returns -ENOENT. */
int runs_view(struct engine *engine, const char *id, struct run_view *ret_view);

/* Calls `each` with the ID of every run of a status (RUN_STATUSES: of all), in no order, under the
 * table's read lock: it must be quick. Stops and returns what `each` returns if not 0. */
int runs_each_id(struct engine *engine, enum run_status status,
		 int (*each)(void *context, const char *id), void *context);

/* How many there are of each status. */
void runs_count(struct engine *engine, uint64_t ret_counts[RUN_STATUSES]);

/* When the latest run was started or removed, or changed its status: for directories' times. */
int64_t runs_changed_ns(struct engine *engine);

/*
 * Whether the caller may look into a run, signal it and control it: its user, root, and the owner
 * of the mount. Returns 0, -EACCES, -ENOENT.
 */
int runs_check_access(struct engine *engine, const struct caller *caller, const char *id);

/* The files of a run that hold bytes. */
enum run_value {
	RUN_VALUE_INPUT,
	RUN_VALUE_RESULT,
	RUN_VALUE_STEP,	  /* `name` */
	RUN_VALUE_SIGNAL, /* `name` */
	RUN_VALUE_TIMER,  /* `name`: its text */
};

struct run_value_view {
	uint64_t run, sequence; /* for runs_read_value */
	struct digest digest;
	uint64_t bytes;
	int64_t at_ns;
	int64_t until_ns; /* timers: due */
	bool is_fired;
};

/* Returns -ENOENT when there is no such run, or nothing of that name (yet); -EIO; -ENOMEM. */
int runs_find_value(struct engine *engine, const char *id, enum run_value value, const char *name,
		    struct run_value_view *ret_view);

/*
 * The bytes of a value. A small one comes as a copy in *ret_text (with an extra NUL) that the
 * caller frees. For a large one *ret_text is NULL: its bytes are the content `view->digest` of
 * engine->store, verified already. Blocks. Returns -ENOENT, -EIO, -ENOMEM.
 */
int runs_read_value(struct engine *engine, const char *id, enum run_value value, const char *name,
		    struct run_value_view *ret_view, char **ret_text);

/*
 * The command that a recorded step was declared with, "" without one; the caller frees it.
 * Returns -ENOENT, -EIO, -ENOMEM.
 */
int runs_step_command(struct engine *engine, const char *id, const char *name, char **ret_command);

/* The names of steps, timers or signals that a run has, in order of recording. As runs_each_id, but
 * not under a lock. Returns also -ENOENT, -EIO, -ENOMEM. */
int runs_each_item(struct engine *engine, const char *id, enum item_kind kind,
		   int (*each)(void *context, const char *name), void *context);

/* `history`, `status`, `error` as texts. Ownership: the caller frees *ret_text.
 * Returns -ENOENT (no run; no error), -EIO, -ENOMEM. */
int runs_history(struct engine *engine, const char *id, char **ret_text, size_t *ret_length);
int runs_status_text(struct engine *engine, const char *id, char **ret_text, size_t *ret_length);
int runs_error(struct engine *engine, const char *id, char **ret_text, size_t *ret_length);

/* `log`: what its attempts wrote to stderr, a ring. Size and bytes; read from the files each time.
 * Return -ENOENT, -EIO. */
int runs_log_size(struct engine *engine, const char *id, uint64_t *ret_size);
ssize_t runs_log_read(struct engine *engine, const char *id, uint64_t offset, char *buffer,
		      size_t size);

/*
 * Removes a finished run with everything that it has. Returns -ENOENT, -EACCES, -EBUSY (it is not
 * finished; the reason names the status), -ENOSPC, -EIO. Context: blocks for a commit.
 */
int runs_remove(struct engine *engine, const struct caller *caller, const char *id,
		struct reason *reason);

#endif
