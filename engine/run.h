/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_RUN_H
#define ENGINE_RUN_H

#include "engine/event.h"

/*
 * What a run is: a fold of its events, and of nothing else. No clock, no store, no process: the
 * same events give the same state, before a crash and after it.
 */

enum run_status {
	RUN_PENDING, /* an attempt will start as soon as there is room */
	RUN_RUNNING, /* an attempt is open */
	RUN_WAITING, /* an attempt failed; the next one starts at `retry_ns` */
	RUN_PARKED,  /* its timer or signal will wake it */
	RUN_PAUSED,
	RUN_STRANDED,
	RUN_COMPLETED, /* from here on: final */
	RUN_FAILED,
	RUN_CANCELLED,
	RUN_TIMED_OUT,
	RUN_STATUSES,
};

/* "pending", ... */
const char *run_status_name(enum run_status status);

/* Returns RUN_STATUSES for no status' name. */
enum run_status run_status_parse(const char *name);

static inline bool run_is_final(enum run_status status)
{
	return status >= RUN_COMPLETED;
}

/* What a run recorded under a name. */
enum item_kind {
	ITEM_STEP,
	ITEM_TIMER,
	ITEM_SIGNAL,
	ITEM_KINDS,
};

struct item {
	enum item_kind kind;
	bool is_fired;	   /* timers */
	uint32_t attempt;  /* that recorded it */
	uint64_t sequence; /* of the event that brought it: its value's key */
	int64_t at_ns;
	int64_t until_ns; /* timers: due */
	int64_t fired_ns;
	struct digest digest;
	uint64_t bytes;
	char *text; /* a step's command, a timer's text; NUL-terminated */
	char *name;
};

/* Items in the order of their events. Names are found by a hash table: a run may have 10,000. */
struct items {
	struct item *list;
	size_t count, room;
	uint32_t *slots;   /* places in the list, from 1; 0: empty */
	size_t slot_count; /* a power of two; more than half are empty */
	size_t text_bytes; /* of all texts */
};

struct run_state {
	uint64_t sequence; /* of the last event */
	enum run_status status;
	bool has_attempt; /* one is open */
	bool is_parked, is_paused, is_stranded;
	uint32_t attempt;  /* the latest one's number */
	uint32_t failures; /* since the last recorded step */
	uint32_t steps, timers, signals;
	int64_t started_ns, changed_ns;
	int64_t deadline_ns;			/* 0: none */
	int64_t retry_ns;			/* of a waiting run */
	uint64_t result_sequence, result_bytes; /* of a completed run */
	uint64_t input_bytes;
	struct digest input_digest;
	struct digest version; /* the pin */
	char *type;	       /* NULL before WorkflowStarted */
	uint32_t uid, gid;
	/* The open attempt's holder. */
	int32_t pid;
	uint64_t start_ticks;
	char *boot;  /* NULL without one */
	char *waits; /* parked: what for, one "signals/NAME" or "timers/NAME" a line */
	char *error; /* why the last attempt or the run failed; NULL when nothing did */
};

void run_state_free(struct run_state *state);

/* A copy with texts of its own. Returns -ENOMEM; then there is nothing to free. */
int run_state_copy(struct run_state *ret_copy, const struct run_state *state);

/*
 * Applies the next event; `items` (may be NULL) takes what it records.
 * Returns -EBADMSG when such an event cannot follow (the history is damaged), -ENOMEM.
 */
int run_fold(struct run_state *state, struct items *items, const struct event *event);

/* The part of run_fold that is about items. Returns as that. */
int run_fold_items(struct items *items, const struct event *event);

void items_clear(struct items *items);

/* NULL when there is none. */
const struct item *items_find(const struct items *items, enum item_kind kind, const char *name);

/* When the earliest timer that has not fired is due; 0: none. */
int64_t items_next_due(const struct items *items);

#endif
