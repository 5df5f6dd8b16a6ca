/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_EVENT_H
#define ENGINE_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "store/digest.h"
#include "store/journal.h"
#include "store/rows.h"

/*
 * The vocabulary of a run's history (DESIGN section 7), how an event lies in the store, and how
 * `history` shows it. What each kind carries is one table in event.c; the encoding is fixed by it.
 */

#define EVENT_NAME_MAX 255	    /* of a step, a timer, a signal */
#define EVENT_TEXT_MAX (64u * 1024) /* a step's command, a message */

enum event_kind {
	EVENT_WORKFLOW_STARTED = 1,
	EVENT_ATTEMPT_STARTED,
	EVENT_ATTEMPT_ENDED,
	EVENT_STEP_RECORDED,
	EVENT_TIMER_SET,
	EVENT_TIMER_FIRED,
	EVENT_SIGNAL_DELIVERED,
	EVENT_RUN_PAUSED,
	EVENT_RUN_RESUMED,
	EVENT_RUN_REOPENED,
	EVENT_RUN_STRANDED,
	EVENT_RUN_RECOVERED,
	EVENT_WORKFLOW_COMPLETED,
	EVENT_WORKFLOW_FAILED,
	EVENT_WORKFLOW_CANCELLED,
	EVENT_WORKFLOW_TIMED_OUT,
	EVENT_KINDS,
};

/* Why an attempt is over. Only ATTEMPT_FAILED counts against max_attempts. */
enum attempt_how {
	ATTEMPT_COMPLETED = 1, /* exit 0 */
	ATTEMPT_FAILED,	       /* any other end of its own */
	ATTEMPT_VIOLATED,      /* a determinism violation */
	ATTEMPT_PARKED,
	ATTEMPT_PAUSED,
	ATTEMPT_CANCELLED,
	ATTEMPT_TIMED_OUT,
	ATTEMPT_STRANDED,
	ATTEMPT_STOPPED, /* the mount ended */
	ATTEMPT_CRASHED, /* the daemon died */
	ATTEMPT_HOWS,
};

struct event {
	enum event_kind kind;
	uint64_t sequence;	       /* from 1; in the key, not in the bytes */
	int64_t at_ns;		       /* wall clock */
	char name[EVENT_NAME_MAX + 1]; /* type; step, timer or signal */
	const char *text; /* command; timer's text; reason; message; parked: what it waits for, one
			     name a line. Borrowed: decoded ones point into the decoded bytes. */
	size_t text_length;
	struct digest digest; /* of the value: input, step's result, signal, result */
	uint64_t bytes;
	struct digest version;
	int64_t
	    until_ns; /* a timer's due time; the deadline; the time of the next attempt; 0: none */
	uint32_t attempt;
	enum attempt_how how;
	int32_t code; /* exit code, or -signal */
	uint32_t uid, gid;
	int32_t pid;
	uint64_t start_ticks; /* with pid and boot: the holder */
	char boot[37];
};

/* "StepRecorded"; "completed". */
const char *event_name(enum event_kind kind);
const char *event_how_name(enum attempt_how how);

/* Points at a text, which must outlive the event. */
void event_set_text(struct event *event, const char *text);

/*
 * Encodes an event for ROW_APPEND_EVENT. Ownership: the caller frees *ret_bytes.
 * Returns -ENOMEM, -EFBIG (a text over EVENT_TEXT_MAX).
 */
int event_encode(const struct event *event, uint8_t **ret_bytes, size_t *ret_length);

/*
 * Decodes; `ret_event->text` points into `bytes`. Returns -EBADMSG for anything that event_encode
 * did not write.
 */
int event_decode(const struct event_bytes *bytes, struct event *ret_event);

/*
 * One line of `history`: a JSON object and a newline, the same bytes each time. Ownership: the
 * caller frees it. Returns NULL without memory.
 */
char *event_line(const struct event *event, size_t *ret_length);

/* Whether a step, a timer or a signal may have this name: 1 to 255 bytes of UTF-8, no control
 * characters, no '/', no leading dot. */
bool event_name_is_valid(const char *name);

#endif
