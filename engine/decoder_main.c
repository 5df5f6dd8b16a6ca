/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decoder process: `aionfs-decoder INFLATED_BYTES ENTRIES CPU_SECONDS MEMORY_BYTES`, with the
 * spooled archive as its standard input, a socket to the daemon as its standard output, and the
 * memory of the ring as RING_DESCRIPTOR. Makes frames of what archive_decode finds; small entries
 * share a slot of the ring. Reads no byte of the archive before sandbox_enter has succeeded. It is
 * started by the daemon and by nobody else.
 */
#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/archive.h"
#include "engine/ring.h"
#include "engine/sandbox.h"

static const struct frame_code codes[] = FRAME_CODES;

static struct ring_writer ring;

static void append(const void *bytes, size_t length)
{
	ring_append(&ring, bytes, length);
}

/* Begins a frame whose `length` bytes the caller appends. */
static int begin_frame(enum frame_type type, size_t length)
{
	struct frame_header head = {.type = (uint32_t)type, .length = (uint32_t)length};

	if (ring_reserve(&ring, sizeof(head) + length) < 0)
		return -EPIPE;
	append(&head, sizeof(head));
	return 0;
}

static int write_entry(void *context, const struct decoder_entry *entry, struct reason *reason)
{
	struct frame_entry head = {
	    .kind = (uint32_t)entry->kind,
	    .executable = entry->executable,
	    .path_length = (uint32_t)entry->path_length,
	    .target_length = (uint32_t)entry->target_length,
	};

	(void)context;
	(void)reason;
	if (begin_frame(FRAME_ENTRY, sizeof(head) + entry->path_length + entry->target_length) < 0)
		return -EPIPE;
	append(&head, sizeof(head));
	append(entry->path, entry->path_length);
	if (entry->target_length > 0)
		append(entry->target, entry->target_length);
	return 0;
}

static int write_data(void *context, const void *bytes, size_t length, struct reason *reason)
{
	const uint8_t *rest = bytes;

	(void)context;
	(void)reason;
	while (length > 0) {
		size_t part = length < FRAME_DATA_MAX ? length : FRAME_DATA_MAX;

		if (begin_frame(FRAME_DATA, part) < 0)
			return -EPIPE;
		append(rest, part);
		rest += part;
		length -= part;
	}
	return 0;
}

static int write_end(void *context, struct reason *reason)
{
	(void)context;
	(void)reason;
	return begin_frame(FRAME_END, 0);
}

static uint32_t code_index(const char *code)
{
	for (uint32_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		if (strcmp(codes[i].code, code) == 0)
			return i;
	}
	return 0;
}

static int write_failure(const struct reason *reason)
{
	struct frame_fail head = {.code = code_index(reason->code)};
	size_t message = strnlen(reason->message, FRAME_MESSAGE_MAX);
	size_t entry = strlen(reason->entry);

	head.message_length = (uint32_t)message;
	head.entry_length = (uint32_t)entry;
	if (begin_frame(FRAME_FAIL, sizeof(head) + message + entry) < 0)
		return -EPIPE;
	append(&head, sizeof(head));
	append(reason->message, message);
	append(reason->entry, entry);
	return ring_flush(&ring);
}

static int refuse_to_start(const char *step)
{
	struct reason reason = {0};

	reason_set(&reason, EIO, "decoder_failed", "the decoder cannot %s: %s", step,
		   strerror(errno));
	write_failure(&reason);
	return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	static const struct decoder_sink sink = {
	    .entry = write_entry,
	    .data = write_data,
	    .end = write_end,
	};
	struct decoder_limits limits = {0};
	struct reason reason = {0};
	const char *step;

	if (argc != 5)
		return 2;
	limits.inflated_bytes = strtoull(argv[1], NULL, 10);
	limits.entries = strtoull(argv[2], NULL, 10);
	limits.cpu_seconds = (unsigned)strtoul(argv[3], NULL, 10);
	limits.memory_bytes = strtoull(argv[4], NULL, 10);

	/* Without it there is no way to say anything but by dying. */
	if (ring_writer_open(&ring) < 0)
		return EXIT_FAILURE;
	/* Where the locale is "C", libarchive has no names but those of ASCII. */
	setlocale(LC_CTYPE, "C.UTF-8");
	/* Times are thrown away, but libarchive converts them: no file of time zones is read. */
	setenv("TZ", "UTC0", 1);
	tzset();
	if (sandbox_enter(limits.cpu_seconds, limits.memory_bytes, &step) < 0)
		return refuse_to_start(step);
	if (archive_decode(STDIN_FILENO, &limits, &sink, NULL, &reason) < 0)
		return write_failure(&reason) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
	if (begin_frame(FRAME_DONE, 0) < 0 || ring_flush(&ring) < 0)
		return EXIT_FAILURE;
	return EXIT_SUCCESS;
}
