/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads frames from a process that may have been taken over, out of memory that it can still write.
 * Owns the copy of each frame, whose size bounds every length. Refuses whatever the writer of an
 * honest decoder would never write, with a code and a text of its own: only codes of the table and
 * printable text come through.
 */
#include "engine/frame_reader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static const struct frame_code codes[] = FRAME_CODES;

void frame_reader_init(struct frame_reader *reader, const struct decoder_limits *limits,
		       const struct decoder_sink *sink, void *context)
{
	memset(reader, 0, offsetof(struct frame_reader, copy));
	reader->limits = limits;
	reader->sink = sink;
	reader->context = context;
}

/* The fence keeps the compiler from reading the shared bytes again where it means the copy. */
static void copy_out(void *copy, const uint8_t *bytes, size_t length)
{
	memcpy(copy, bytes, length);
	atomic_signal_fence(memory_order_seq_cst);
}

static int nonsense(struct reason *reason, const char *what)
{
	return reason_set(reason, EBADMSG, "archive_corrupt",
			  "the decoder's answer makes no sense (%s): the archive is damaged or "
			  "hostile",
			  what);
}

static bool name_is_sane(const char *name, uint32_t length)
{
	return length > 0 && length <= FRAME_NAME_MAX && !memchr(name, '\0', length);
}

static bool components_fit(const char *path, uint32_t length)
{
	uint32_t run = 0;

	for (uint32_t i = 0; i < length; i++) {
		run = path[i] == '/' ? 0 : run + 1;
		if (run > FRAME_COMPONENT_MAX)
			return false;
	}
	return true;
}

static int take_entry(struct frame_reader *reader, const uint8_t *bytes, uint32_t length,
		      struct reason *reason)
{
	char path[FRAME_NAME_MAX + 1], target[FRAME_NAME_MAX + 1];
	struct decoder_entry entry = {.path = path};
	struct frame_entry head;
	bool link;

	if (length < sizeof(head) || reader->in_entry)
		return nonsense(reason, "an entry out of place");
	memcpy(&head, bytes, sizeof(head));
	link = head.kind == DECODER_SYMLINK || head.kind == DECODER_HARDLINK;
	if (head.kind < DECODER_FILE || head.kind > DECODER_HARDLINK || head.executable > 1)
		return nonsense(reason, "an entry of no known kind");
	length -= (uint32_t)sizeof(head);
	bytes += sizeof(head);
	if (head.path_length > length || head.target_length != length - head.path_length ||
	    !name_is_sane((const char *)bytes, head.path_length) ||
	    !components_fit((const char *)bytes, head.path_length))
		return nonsense(reason, "a name");
	if (link ? !name_is_sane((const char *)bytes + head.path_length, head.target_length)
		 : head.target_length > 0)
		return nonsense(reason, "a link's target");
	if (++reader->entries > reader->limits->entries)
		return reason_set(reason, EFBIG, "too_many_entries",
				  "the archive has more than max_entries (%" PRIu64 ") entries",
				  reader->limits->entries);

	memcpy(path, bytes, head.path_length);
	path[head.path_length] = '\0';
	memcpy(target, bytes + head.path_length, head.target_length);
	target[head.target_length] = '\0';
	entry.kind = (enum decoder_kind)head.kind;
	entry.path_length = head.path_length;
	entry.target = link ? target : NULL;
	entry.target_length = head.target_length;
	entry.executable = head.executable == 1;
	reader->in_entry = true;
	reader->may_have_data = entry.kind == DECODER_FILE || entry.kind == DECODER_HARDLINK;
	return reader->sink->entry(reader->context, &entry, reason);
}

/* Where data is copied to: as the sink wants it, or into the reader's own copy. */
static int find_room(struct frame_reader *reader, void **ret_room, size_t *ret_length,
		     struct reason *reason)
{
	if (reader->sink->room)
		return reader->sink->room(reader->context, ret_room, ret_length, reason);
	*ret_room = reader->copy;
	*ret_length = sizeof(reader->copy);
	return 0;
}

static int take_data(struct frame_reader *reader, const uint8_t *bytes, uint32_t length,
		     struct reason *reason)
{
	int result = 0;

	if (!reader->in_entry || !reader->may_have_data || length == 0)
		return nonsense(reason, "data out of place");
	reader->inflated += length;
	if (reader->inflated > reader->limits->inflated_bytes)
		return reason_set(reason, EFBIG, "inflated_too_large",
				  "the archive holds more than max_inflated_bytes (%" PRIu64 ")",
				  reader->limits->inflated_bytes);
	for (size_t done = 0, part; result == 0 && done < length; done += part) {
		void *room;

		result = find_room(reader, &room, &part, reason);
		if (result < 0)
			break;
		if (part > length - done)
			part = length - done;
		copy_out(room, bytes + done, part);
		result = reader->sink->data(reader->context, room, part, reason);
	}
	return result;
}

/* The text of a refusal: printable, or it is not shown. */
static bool text_is_sane(const char *text, uint32_t length)
{
	for (uint32_t i = 0; i < length; i++) {
		if (text[i] < 0x20 || text[i] == 0x7f)
			return false;
	}
	return length > 0 && length <= FRAME_MESSAGE_MAX;
}

static int take_fail(struct frame_reader *reader, const uint8_t *bytes, uint32_t length,
		     struct reason *reason)
{
	struct frame_fail head;
	const char *message, *entry;
	int result;

	if (length < sizeof(head))
		return nonsense(reason, "a short refusal");
	memcpy(&head, bytes, sizeof(head));
	length -= (uint32_t)sizeof(head);
	message = (const char *)bytes + sizeof(head);
	if (head.code >= sizeof(codes) / sizeof(codes[0]) || head.message_length > length ||
	    head.entry_length != length - head.message_length ||
	    !text_is_sane(message, head.message_length))
		return nonsense(reason, "a refusal");
	entry = message + head.message_length;
	if (head.entry_length > 0 && !text_is_sane(entry, head.entry_length))
		return nonsense(reason, "a refusal");
	reader->finished = true;
	result = reason_set(reason, codes[head.code].error, codes[head.code].code, "%.*s",
			    (int)head.message_length, message);
	if (reason) /* it is escaped already: see reason_name_entry */
		snprintf(reason->entry, sizeof(reason->entry), "%.*s", (int)head.entry_length,
			 entry);
	return result;
}

static int take_frame(struct frame_reader *reader, const struct frame_header *head,
		      const uint8_t *bytes, struct reason *reason)
{
	uint32_t length = head->length;

	if (reader->finished)
		return nonsense(reason, "it goes on behind its end");
	if (head->type == FRAME_DATA)
		return take_data(reader, bytes, length, reason);
	if (length > sizeof(reader->copy))
		return nonsense(reason, "a frame that is too long");
	copy_out(reader->copy, bytes, length);
	switch (head->type) {
	case FRAME_ENTRY:
		return take_entry(reader, reader->copy, length, reason);
	case FRAME_END:
		if (!reader->in_entry || length > 0)
			return nonsense(reason, "an end out of place");
		reader->in_entry = false;
		return reader->sink->end(reader->context, reason);
	case FRAME_DONE:
		if (reader->in_entry || length > 0)
			return nonsense(reason, "done inside an entry");
		reader->finished = true;
		return 0;
	case FRAME_FAIL:
		return take_fail(reader, reader->copy, length, reason);
	default:
		return nonsense(reason, "a frame of no known type");
	}
}

int frame_reader_take(struct frame_reader *reader, const uint8_t *bytes, size_t length,
		      struct reason *reason)
{
	int result = 0;

	while (result == 0 && length > 0) {
		struct frame_header head;

		if (length < sizeof(head))
			return nonsense(reason, "half a frame");
		copy_out(&head, bytes, sizeof(head));
		bytes += sizeof(head);
		length -= sizeof(head);
		if (head.length > length)
			return nonsense(reason, "a frame that is too long");
		result = take_frame(reader, &head, bytes, reason);
		bytes += head.length;
		length -= head.length;
	}
	return result;
}
