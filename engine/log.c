/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MNT/log as one growing text: the persisted audit log, with the notes of this mount between its
 * lines, in the order in which they happened.
 *
 * Owns: the list of segments. A segment is a stretch of the audit log (read from the store when asked
 * for), or a note (in memory). Invariant: segments follow each other without a gap, and what an
 * offset once gave it gives for the whole mount; only the oldest notes, past NOTE_BYTES_MAX, turn
 * blank. `lock` guards the list; the store is never called while it is held for a note.
 */
#include "engine/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/audit.h"
#include "engine/clock.h"

#define NOTE_BYTES_MAX  (4u * 1024 * 1024)
#define NOTE_LENGTH_MAX 8192
#define COALESCE_SLOTS  256
#define COALESCE_NS     1000000000

struct segment {
	uint64_t start; /* in the log */
	uint64_t length;
	uint64_t audit; /* where it begins in the audit log, for a stretch of that */
	char *note;     /* the text of a note; NULL for audit */
	bool is_blank;  /* a note whose text was given up */
};

/* What was noted lately, so that a flood becomes one line with a count. */
struct recent {
	uint64_t key;
	int64_t at_ns; /* monotonic */
	uint64_t suppressed;
};

struct log {
	pthread_mutex_t lock;
	struct segment *segments;
	size_t count, room;
	size_t oldest_note; /* the first segment that may still hold a note's text */
	uint64_t note_bytes;
	uint64_t audit_known; /* how much of the audit log the segments cover */
	int64_t changed_ns;
	struct recent recent[COALESCE_SLOTS];
};

static uint64_t log_end(const struct log *log)
{
	const struct segment *last = log->count ? &log->segments[log->count - 1] : NULL;

	return last ? last->start + last->length : 0;
}

/*
 * Neighbours that are blank become one, so that a flood of notes costs no memory for ever: of all
 * but the last, the line's end turns blank, too.
 */
static void merge_blanks(struct log *log)
{
	size_t kept = 0;

	for (size_t i = 0; i < log->count; i++) {
		struct segment *last = kept > 0 ? &log->segments[kept - 1] : NULL;

		if (last && last->is_blank && log->segments[i].is_blank)
			last->length += log->segments[i].length;
		else
			log->segments[kept++] = log->segments[i];
	}
	log->count = kept;
	log->oldest_note = 0;
}

static struct segment *add_segment(struct log *log, uint64_t length)
{
	struct segment *segment;

	if (log->count == log->room)
		merge_blanks(log);
	if (log->count == log->room) {
		size_t wanted = log->room ? log->room * 2 : 64;
		struct segment *larger = realloc(log->segments, wanted * sizeof(*larger));

		if (!larger)
			return NULL;
		log->segments = larger;
		log->room = wanted;
	}
	segment = &log->segments[log->count];
	*segment = (struct segment){.start = log_end(log), .length = length};
	log->count++;
	return segment;
}

static void cover_audit(struct log *log, uint64_t audit_size)
{
	struct segment *last = log->count ? &log->segments[log->count - 1] : NULL;
	uint64_t added = audit_size - log->audit_known;

	if (audit_size <= log->audit_known)
		return;
	if (last && !last->note && !last->is_blank) {
		last->length += added;
	} else {
		last = add_segment(log, added);
		if (!last)
			return; /* the next call covers it */
		last->audit = log->audit_known;
	}
	log->audit_known = audit_size;
	log->changed_ns = clock_wall_ns();
}

struct log *log_new(struct store *store)
{
	struct log *log = calloc(1, sizeof(*log));
	uint64_t audit_size;

	if (!log)
		return NULL;
	pthread_mutex_init(&log->lock, NULL);
	if (rows_audit_size(store, &audit_size) == 0)
		cover_audit(log, audit_size);
	log->changed_ns = clock_wall_ns();
	return log;
}

void log_free(struct log *log)
{
	if (!log)
		return;
	for (size_t i = 0; i < log->count; i++)
		free(log->segments[i].note);
	free(log->segments);
	pthread_mutex_destroy(&log->lock);
	free(log);
}

void log_audited(struct engine *engine)
{
	struct log *log = engine->log;
	uint64_t audit_size;

	if (!log || rows_audit_size(engine->store, &audit_size) != 0)
		return;
	pthread_mutex_lock(&log->lock);
	cover_audit(log, audit_size);
	pthread_mutex_unlock(&log->lock);
}

uint64_t log_size(struct engine *engine)
{
	uint64_t size;

	pthread_mutex_lock(&engine->log->lock);
	size = log_end(engine->log);
	pthread_mutex_unlock(&engine->log->lock);
	return size;
}

int64_t log_changed_ns(struct engine *engine)
{
	int64_t changed_ns;

	pthread_mutex_lock(&engine->log->lock);
	changed_ns = engine->log->changed_ns;
	pthread_mutex_unlock(&engine->log->lock);
	return changed_ns;
}

/* The segment that holds `offset`, or NULL behind the end. */
static const struct segment *segment_at(const struct log *log, uint64_t offset)
{
	size_t low = 0, high = log->count;

	if (offset >= log_end(log))
		return NULL;
	while (low + 1 < high) {
		size_t middle = low + (high - low) / 2;

		if (log->segments[middle].start <= offset)
			low = middle;
		else
			high = middle;
	}
	return &log->segments[low];
}

/* Copies what lies in memory. Returns 0 when the store must be asked: *ret_audit and *size say where. */
static size_t read_segment(struct log *log, uint64_t offset, char *buffer, size_t *size,
			   uint64_t *ret_audit)
{
	const struct segment *segment;
	uint64_t skip;
	size_t length = 0;

	pthread_mutex_lock(&log->lock);
	segment = segment_at(log, offset);
	if (!segment) {
		*size = 0;
	} else {
		skip = offset - segment->start;
		if (*size > segment->length - skip)
			*size = (size_t)(segment->length - skip);
		if (segment->note) {
			memcpy(buffer, segment->note + skip, *size);
			length = *size;
		} else if (segment->is_blank) {
			memset(buffer, ' ', *size);
			length = *size;
			if (skip + length == segment->length)
				buffer[length - 1] = '\n';
		} else {
			*ret_audit = segment->audit + skip;
		}
	}
	pthread_mutex_unlock(&log->lock);
	return length;
}

ssize_t log_read(struct engine *engine, uint64_t offset, char *buffer, size_t size)
{
	size_t done = 0;

	while (done < size) {
		size_t wanted = size - done;
		uint64_t audit = 0;
		size_t length = read_segment(engine->log, offset + done, buffer + done, &wanted,
					     &audit);
		ssize_t got = (ssize_t)length;

		if (wanted == 0)
			break;
		if (length == 0)
			got = rows_audit_read(engine->store, audit, buffer + done, wanted);
		if (got < 0)
			return done ? (ssize_t)done : got;
		if (got == 0)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

static void forget_old_notes(struct log *log)
{
	while (log->note_bytes > NOTE_BYTES_MAX && log->oldest_note < log->count) {
		struct segment *segment = &log->segments[log->oldest_note++];

		if (!segment->note)
			continue;
		free(segment->note);
		segment->note = NULL;
		segment->is_blank = true;
		log->note_bytes -= segment->length;
	}
}

/* Takes over `text`. Without memory the note is lost, as it would be at the unmount. */
static void add_note(struct log *log, char *text, size_t length)
{
	struct segment *segment;

	pthread_mutex_lock(&log->lock);
	segment = add_segment(log, length);
	if (segment) {
		segment->note = text;
		log->note_bytes += length;
		log->changed_ns = clock_wall_ns();
		forget_old_notes(log);
		text = NULL;
	}
	pthread_mutex_unlock(&log->lock);
	free(text);
}

/* What makes two notes the same for the count: the event and who caused it. */
static uint64_t note_key(const char *event, const json_t *fields)
{
	uint64_t key = 0xcbf29ce484222325;
	json_int_t uid = json_integer_value(json_object_get(fields, "uid"));

	for (; *event; event++)
		key = (key ^ (unsigned char)*event) * 0x100000001b3;
	return (key ^ (uint64_t)uid) * 0x100000001b3;
}

/* Whether this note is only counted; else *ret_repeated is how many were, since the last one. */
static bool is_repeated(struct log *log, uint64_t key, uint64_t *ret_repeated)
{
	struct recent *recent = &log->recent[key % COALESCE_SLOTS];
	int64_t now_ns = clock_monotonic_ns();
	bool repeated;

	pthread_mutex_lock(&log->lock);
	repeated = recent->key == key && now_ns - recent->at_ns < COALESCE_NS;
	if (repeated) {
		recent->suppressed++;
	} else {
		*ret_repeated = recent->key == key ? recent->suppressed : 0;
		*recent = (struct recent){.key = key, .at_ns = now_ns};
	}
	pthread_mutex_unlock(&log->lock);
	return repeated;
}

void log_note(struct engine *engine, const char *event, bool loud, json_t *fields)
{
	uint64_t repeated = 0;
	size_t length;
	char *text;

	if (engine->log && !loud &&
	    is_repeated(engine->log, note_key(event, fields), &repeated)) {
		json_decref(fields);
		return;
	}
	if (repeated > 0 && fields)
		json_object_set_new(fields, "repeated", json_integer((json_int_t)repeated));
	text = audit_line(event, clock_wall_ns(), NULL, fields, &length);
	if (!text)
		return;
	if (loud)
		fprintf(stderr, "aionfs: %s", text);
	if (engine->log && length <= NOTE_LENGTH_MAX)
		add_note(engine->log, text, length);
	else
		free(text);
}
