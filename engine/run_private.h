/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_RUN_PRIVATE_H
#define ENGINE_RUN_PRIVATE_H

#include <pthread.h>

#include "engine/attempt.h"
#include "engine/engine.h"
#include "engine/run.h"
#include "engine/wait.h"
#include "store/value.h"

/*
 * A run as the files that work on runs see it; nobody outside them includes this.
 *
 * Locks, in the order in which they may be taken:
 *   run->lock          orders the changes of one run; held across its commits
 *   the type's lock    (catalog.h) for the pin
 *   runs->waits_lock   the lists of waiters
 *   runs->lock         the table, and of every run what is marked (table)
 *   supervisor's lock  (supervisor.c) what is marked (supervisor)
 * What is marked (table) is written with both run->lock and runs->lock, so that either suffices to
 * read it; what is marked (lock) belongs to run->lock.
 */

struct supervisor;

/* A step that an attempt asked for. */
struct asked {
	char *name;
	char *command;	  /* as it was declared; NULL: it was not */
	bool is_open;	  /* steps/.NAME is there */
	bool is_replayed; /* it is recorded, and this attempt asked for it properly */
};

/* The process of an attempt, from its start until it is collected, whatever the history says. */
struct process {
	struct attempt attempt;
	uint32_t number;
	int output;
	struct asked *asked; /* (lock) */
	size_t asked_count, asked_room;
	unsigned open_steps;	/* (lock) */
	_Atomic bool has_ended; /* the pidfd is readable */
	_Atomic uint32_t wakes; /* how often a wait of one of its processes ended */
	_Atomic uint32_t
	    idle_at; /* it was idle for park_after, with `wakes` one less; 0: it was not */
	_Atomic bool is_too_large; /* its output is over the limit */
	bool is_polled;		   /* its pidfd is looked at by the ticks */
	bool is_killed;		   /* (lock) */
	int64_t killed_ns;	   /* (lock) wall: when it was told so the last time */
	bool is_collected;	   /* (lock) `end` is known */
	struct attempt_end end;
	uint64_t cpu_ns;		 /* the watcher's, as the next two: at the last look */
	int64_t idle_since_ns;		 /* monotonic; 0: not idle */
	uint32_t wakes_seen;		 /* at the last look */
	struct run *run;		 /* with a reference */
	struct process *previous, *next; /* (supervisor) those that run */
};

struct run {
	struct run *chain; /* (table) */
	uint64_t number;
	_Atomic uint32_t references;
	pthread_mutex_t lock;
	struct run_state state; /* (table) */
	struct items *items;	/* (table) NULL: not loaded */
	bool is_removed;	/* (table) */
	struct version
	    *pinned; /* (lock) with a reference and a pin; NULL: finished, or not loaded */
	struct process *process; /* (table) the pointer; what is in it says for itself */
	int64_t timer_due_ns;	 /* (lock) wall; 0: none */
	int64_t not_before_ns;	 /* (lock) wall: something failed that is no fault of the run */
	struct waiter *waiters;	 /* waits_lock */
	_Atomic uint32_t waiter_count;

	/* (supervisor) */
	int64_t due_ns;
	size_t heap_place; /* from 1; 0: not in it */
	struct run *next_ready, *next_slot;
	bool is_ready;	  /* in the list of those that need attention */
	bool wants_slot;  /* in the list of those that want to run an attempt */
	bool is_granted;  /* it was called up from there */
	bool is_attended; /* a thread looks at it */
	bool wants_more;  /* ... and shall look once more */

	char id[];
};

#define ID_STRIPES 1024

struct runs {
	pthread_rwlock_t lock;
	struct run **buckets;
	size_t bucket_count, count;
	uint64_t by_status[RUN_STATUSES];
	int64_t changed_ns;
	pthread_mutex_t waits_lock;
	pthread_mutex_t
	    id_locks[ID_STRIPES]; /* one start of an ID at a time; held across its commit */
	struct supervisor *supervisor;
	int log_directory;
	pthread_mutex_t kept_lock; /* taken last */
	struct items kept;	   /* the items that were read last; see history_borrow_items */
	uint64_t kept_run;	   /* whose; 0: nobody's */
	uint64_t kept_sequence;
};

/* ---- the table: runs.c ---- */

int runs_new(struct engine *engine);
void runs_free(struct engine *engine);

/* A run that is in no table yet, with one reference; NULL without memory. */
struct run *run_new(const char *id, uint64_t number);
void run_put(struct run *run);
struct run *run_get(struct run *run);

/* Takes over the caller's reference. Returns -ENOMEM. */
int runs_insert(struct engine *engine, struct run *run);
void runs_take_out(struct engine *engine, struct run *run);

/* With a reference; NULL when there is none. */
struct run *runs_find(struct engine *engine, const char *id);

/* Every run, with runs->lock held for reading. */
void runs_each(struct engine *engine, void (*each)(void *context, struct run *run), void *context);

void runs_lock_id(struct engine *engine, const char *id);
void runs_unlock_id(struct engine *engine, const char *id);

/* ---- histories: history.c ---- */

/*
 * Appends events, durably, and publishes what they make of the run: the one way to change one.
 * `at_ns` and `sequence` are set here. `value` (may be NULL) belongs to the event number
 * `value_of`; it is settled here on success (nothing may come between, store/journal.h), and is the
 * caller's after a failure. `audit` (may be NULL) is a line for the log, with its
 * newline. Returns -EIO for events that cannot follow (a bug: nothing is appended), -ESTALE,
 * -ENOSPC, -ENOMEM. Context: run->lock is held.
 */
struct append {
	struct event *events;
	size_t count;
	struct value *value;
	size_t value_of;
	const char *audit;
	size_t audit_length;
	bool is_new; /* the run's row goes along */
};
int history_append(struct engine *engine, struct run *run, const struct append *append,
		   struct reason *reason);

/* The usual cases: some events and nothing else; and with a line in the log about the run. */
int history_append_events(struct engine *engine, struct run *run, struct event *events,
			  size_t count);
int history_append_loudly(struct engine *engine, struct run *run, struct append *append,
			  const char *event, const char *message);

/* Loads the items of a run into run->items, unless they are. Context: run->lock. Returns -EIO, ...
 */
int history_load_items(struct engine *engine, struct run *run);

/* Gives run->items up when nobody needs them soon. Context: run->lock. */
void history_drop_items(struct engine *engine, struct run *run);

/* A fold of the stored events of a run. Ownership: run_state_free, items_clear. Either may be NULL.
 */
int history_fold(struct engine *engine, uint64_t number, struct run_state *ret_state,
		 struct items *ret_items);

/*
 * The items of a run to read, without run->lock: those that the last reader returned, or a fold of
 * the stored events. Listing a directory asks for each of its names by itself, so folding for each
 * would take hours where a run has thousands of steps. `ret_sequence` is the event that they are up
 * to. Ownership: the caller's until history_return_items, which each success needs. Returns -EIO,
 * ...
 */
int history_borrow_items(struct engine *engine, struct run *run, struct items *ret_items,
			 uint64_t *ret_sequence);
void history_return_items(struct engine *engine, struct run *run, struct items *items,
			  uint64_t sequence);

/* An item by name, copied: text and name are the caller's to free. Without run->lock. */
int history_find_item(struct engine *engine, struct run *run, enum item_kind kind, const char *name,
		      struct item *ret_item);

/* ---- waiters: wait.c ---- */

/* After a publication: hands out what became ready. */
void wait_notify(struct engine *engine, struct run *run, const struct event *events, size_t count);

/*
 * What processes of that attempt wait for of their own run, one "signals/NAME" or "timers/NAME" a
 * line; NULL: nothing (or no memory). Ownership: free.
 */
char *wait_own_waits(struct engine *engine, struct run *run, uint32_t attempt);

/* ---- supervision: supervisor.c, attend.c ---- */

/* Makes the supervisor look at the run soon: something changed. Never blocks. */
void supervisor_attend(struct engine *engine, struct run *run);

/* When to look again by itself; 0: never. Context: run->lock. */
void supervisor_schedule(struct engine *engine, struct run *run, int64_t due_ns);

/* A place for one more attempt. Without one the run is queued, and false returned. */
bool supervisor_take_slot(struct engine *engine, struct run *run);
void supervisor_give_slot(struct engine *engine);

/* From its start until it is collected a process is watched. */
void supervisor_watch(struct engine *engine, struct process *process);
void supervisor_unwatch(struct engine *engine, struct process *process);

bool supervisor_is_stopping(struct engine *engine);
bool supervisor_is_ready(struct engine *engine);

/* Looks at a run and does whatever is due. Context: a worker of the supervisor. */
void attend(struct engine *engine, struct run *run);

/* The run is final: gives up what only unfinished runs need. Context: run->lock. */
void attend_finished(struct engine *engine, struct run *run);

/* ---- pins: pin.c; context: run->lock ---- */

/* Pins `version`, which carries a pin already that the run takes over, with the reference. */
void pin_set(struct run *run, struct version *version);

/* Pins the run's version, if it is loaded. The run has no pin. */
void pin_take(struct engine *engine, struct run *run);

/* Gives up the pin, if there is one. */
void pin_drop(struct run *run);

/* Strands the run when its version is not there or is damaged; recovers it when it is back. */
int pin_check(struct engine *engine, struct run *run);

/* ---- attempts: spawn.c, ending.c; context: run->lock; errors as history_append ---- */

/* After a failure of the machine's or the store's the look is made again. */
#define LATER_NS (5ll * 1000000000)

/* Whether nothing hinders an attempt but that its version is not verified yet, or lacks a place. */
bool spawn_is_wanted(struct engine *engine, const struct run *run, int64_t now_ns);

/* Starts an attempt, if nothing hinders one at `now_ns`. Returns also what attempt_start does. */
int spawn_attempt(struct engine *engine, struct run *run, int64_t now_ns);

/* The run's process was collected: frees it, and gives its place back. */
void spawn_discard(struct engine *engine, struct run *run);

/* An AttemptEnded of the open attempt. */
struct event ending_event(const struct run *run, enum attempt_how how);

/* Ends the process of the open attempt, whose end is in the history. */
void ending_kill(struct run *run);

/* Ends one that was told to end, and does not. */
void ending_insist(struct run *run, int64_t now_ns);

/* The attempt failed; so does the run, `for_good` or when it was the last attempt. */
int ending_fail(struct engine *engine, struct run *run, int code, const char *message,
		bool for_good);

/* Collects the process, if it has ended: what came of the attempt goes into the history. */
int ending_collect(struct engine *engine, struct run *run);

/* Ends an open attempt that has no process here: a former daemon's. */
int ending_of_crashed(struct engine *engine, struct run *run);

/* The mount ends: so does the attempt. */
int ending_of_stopped(struct engine *engine, struct run *run);

/* ---- recording: record.c ---- */

/*
 * The run, locked and with a reference, when the caller is a process of its open attempt. Returns
 * -ENOENT, -EPERM attempt_required.
 */
int record_lock(struct engine *engine, const struct caller *caller, const char *id,
		struct run **ret_run, struct reason *reason);
void record_unlock(struct run *run);

/*
 * Notes in the log why something was not recorded: its caller hears an errno only. `event` is
 * "step_refused" and the like.
 */
void record_note_refusal(struct engine *engine, const struct caller *caller, const char *event,
			 const char *id, const char *name, const struct reason *reason);

/* Returns -EINVAL name_invalid. */
int record_check_name(const char *name, struct reason *reason);

/* Whether a task is of the run's process. Context: run->lock or runs->lock. */
bool run_has_task(const struct run *run, pid_t task);

#endif
