/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ties decoder, judge and upload together. The caller's thread reads the decoder's frames, hashes
 * and stores, while the decoder inflates on the other core.
 *
 * Invariant: each content that the upload takes is named by the finished package. The one that may
 * not be is the empty content: a cpio's hard links come with empty bodies before the one that has
 * the bytes. So empty bodies are not stored as they come, but once at the end, if the index has one.
 */
#include "engine/admission.h"

#include <errno.h>
#include <string.h>

#include "engine/engine.h"

#define DECODER_CPU_SECONDS  600
#define DECODER_MEMORY_BYTES (384ull * 1024 * 1024)

struct stream {
	const struct admission *admission;
	struct admit *admit;
	struct digest_stream hash; /* without an upload */
	enum decoder_kind kind;
	uint64_t body_bytes;
	bool has_empty; /* an empty file was seen */
};

/* SHA-256 of nothing. */
static int empty_digest(struct digest *ret_digest)
{
	return digest_of("", 0, ret_digest);
}

static enum admit_kind admit_kind_of(enum decoder_kind kind)
{
	switch (kind) {
	case DECODER_FILE:
		return ADMIT_FILE;
	case DECODER_DIR:
		return ADMIT_DIR;
	case DECODER_SYMLINK:
		return ADMIT_SYMLINK;
	case DECODER_HARDLINK:
		return ADMIT_HARDLINK;
	}
	return ADMIT_FILE;
}

static int take_entry(void *context, const struct decoder_entry *entry, struct reason *reason)
{
	struct stream *stream = context;

	stream->kind = entry->kind;
	stream->body_bytes = 0;
	return admit_entry(stream->admit, admit_kind_of(entry->kind), entry->path,
			   entry->path_length, entry->target, entry->target_length,
			   entry->executable, reason);
}

/* Where the upload wants the data: from the decoder's memory it is copied once. */
static int find_room(void *context, void **ret_room, size_t *ret_length, struct reason *reason)
{
	struct stream *stream = context;

	return upload_room(stream->admission->upload, ret_room, ret_length, reason);
}

static int take_data(void *context, const void *bytes, size_t length, struct reason *reason)
{
	struct stream *stream = context;
	int error;

	stream->body_bytes += length;
	error = admit_data(stream->admit, bytes, length, reason);
	if (error)
		return error;
	if (stream->admission->upload)
		return upload_filled(stream->admission->upload, length, reason);
	return digest_add(&stream->hash, bytes, length);
}

static int finish_body(struct stream *stream, struct digest *ret_digest, struct reason *reason)
{
	uint64_t size;

	if (stream->admission->upload)
		return upload_end(stream->admission->upload, ret_digest, &size, reason);
	return digest_finish(&stream->hash, ret_digest);
}

static int take_end(void *context, struct reason *reason)
{
	struct stream *stream = context;
	struct digest digest;
	int error;

	if (stream->kind != DECODER_FILE && stream->body_bytes == 0)
		return 0;
	if (stream->body_bytes == 0) {
		stream->has_empty = true;
		error = empty_digest(&digest);
	} else {
		error = finish_body(stream, &digest, reason);
	}
	if (error)
		return error;
	return admit_body(stream->admit, &digest, stream->body_bytes, reason);
}

/* One more content of the package itself: the index, or the empty file. */
static int store_content(const struct admission *admission, const void *bytes, size_t length,
			 struct digest *ret_digest, struct reason *reason)
{
	uint64_t size;
	int error = 0;

	if (!admission->upload)
		return digest_of(bytes, length, ret_digest);
	if (length > 0)
		error = upload_write(admission->upload, bytes, length, reason);
	if (!error)
		error = upload_end(admission->upload, ret_digest, &size, reason);
	return error;
}

static int store_rest(const struct stream *stream, const struct admitted *admitted,
		      struct digest *ret_signature, struct reason *reason)
{
	struct digest digest, empty;
	char hex[DIGEST_HEX + 1];
	int error = 0;

	if (stream->has_empty) {
		error = empty_digest(&empty);
		if (!error && memmem(admitted->index_text, admitted->index_length,
				     digest_hex(&empty, hex), DIGEST_HEX))
			error = store_content(stream->admission, "", 0, &digest, reason);
	}
	if (!error && admitted->signature)
		error = store_content(stream->admission, admitted->signature,
				      admitted->signature_length, ret_signature, reason);
	if (!error)
		error = store_content(stream->admission, admitted->index_text,
				      admitted->index_length, &digest, reason);
	if (!error && !digest_equal(&digest, &admitted->version))
		error = reason_set(reason, EIO, "store_failed",
				   "the index does not hash to its version");
	return error;
}

static int check_size(const struct admission *admission, struct reason *reason)
{
	if (admission->spool_bytes == 0)
		return reason_set(reason, EBADMSG, "archive_empty",
				  "the file is empty: no archive was written");
	if (admission->spool_bytes > admission->limits.archive_bytes)
		return reason_set(reason, EFBIG, "archive_too_large",
				  "the archive has more than max_archive_bytes=%llu bytes",
				  (unsigned long long)admission->limits.archive_bytes);
	return 0;
}

int admission_run(const struct admission *admission, struct admitted *ret_admitted,
		  struct digest *ret_signature, struct reason *reason)
{
	struct decoder_sink sink = {.entry = take_entry,
				    .data = take_data,
				    .end = take_end,
				    .room = admission->upload ? find_room : NULL};
	struct stream stream = {.admission = admission};
	int error = check_size(admission, reason);

	if (error)
		return error;
	stream.admit = admit_new(admission->limits.entries);
	if (!stream.admit)
		return reason_set(reason, ENOMEM, "store_failed", "no memory left");
	error = digest_open(&stream.hash);
	if (!error)
		error = decoder_run(admission->spool, &admission->limits, &sink, &stream,
				    admission->cancel, reason);
	if (!error)
		error = admit_finish(stream.admit, ret_admitted, reason);
	if (!error) {
		error = store_rest(&stream, ret_admitted, ret_signature, reason);
		if (error)
			admitted_free(ret_admitted);
	}
	digest_close(&stream.hash);
	admit_free(stream.admit);
	if (error && reason && !reason->code[0])
		reason_set(reason, -error, error == -EINTR ? "cancelled" : "store_failed", "%s",
			   error == -EINTR ? "the copy was interrupted; nothing is stored"
					   : strerror(-error));
	return error;
}

void admission_limits(const struct engine_limits *limits, struct decoder_limits *ret_limits)
{
	*ret_limits = (struct decoder_limits){
		.archive_bytes = limits->archive_bytes,
		.inflated_bytes = limits->inflated_bytes,
		.entries = limits->entries,
		.cpu_seconds = DECODER_CPU_SECONDS,
		.memory_bytes = DECODER_MEMORY_BYTES,
	};
}
