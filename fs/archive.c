/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the layouts of the archives that were read last: a layout costs memory in proportion to its
 * version's entries, so few are kept, whatever number of archives is open. Invariant: no layout of
 * an unloaded version stays in the cache, since it would keep the version's contents in the store.
 *
 * Each content is verified before its first byte goes out. Large contents are answered from the
 * store's map without a copy; small ones are copied, because a request has at most IOV_MAX vectors.
 */
#include "fs/archive.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/forest.h"
#include "engine/tarball.h"
#include "engine/verify.h"
#include "fs/handle.h"
#include "store/contents.h"

#define LAYOUTS_MAX 8
#define COPIED_MAX 8192	 /* contents up to this size are copied */
#define VECTORS_MAX 1000 /* below IOV_MAX; 1 MiB of larger contents needs a third of it */

struct layout {
	struct version *version; /* with a reference */
	const struct tree *tree;
	struct tarball *tarball;
	unsigned users; /* under archives->lock; the cache is one */
	uint64_t used;	/* when it was used last, by the cache's count */
};

struct archives {
	pthread_mutex_t lock;
	struct layout *layouts[LAYOUTS_MAX];
	uint64_t uses;
	uint64_t *sizes; /* by slot; 0 is unknown, an archive has two zero blocks at least */
	size_t size_count;
};

struct archives *archives_new(void)
{
	struct archives *archives = calloc(1, sizeof(*archives));

	if (archives)
		pthread_mutex_init(&archives->lock, NULL);
	return archives;
}

static void layout_free(struct fs *fs, struct layout *layout)
{
	tarball_free(layout->tarball);
	if (layout->tree)
		forest_put(fs->engine, layout->version, layout->tree);
	version_put(layout->version);
	free(layout);
}

static void layout_put(struct fs *fs, struct layout *layout)
{
	bool is_last;

	if (!layout)
		return;
	pthread_mutex_lock(&fs->archives->lock);
	is_last = --layout->users == 0;
	pthread_mutex_unlock(&fs->archives->lock);
	if (is_last)
		layout_free(fs, layout);
}

void archives_free(struct fs *fs, struct archives *archives)
{
	if (!archives)
		return;
	for (size_t i = 0; i < LAYOUTS_MAX; i++)
		layout_put(fs, archives->layouts[i]);
	free(archives->sizes);
	pthread_mutex_destroy(&archives->lock);
	free(archives);
}

void archives_drop(struct fs *fs, uint32_t slot)
{
	struct archives *archives = fs->archives;
	struct layout *dropped = NULL;

	pthread_mutex_lock(&archives->lock);
	for (size_t i = 0; i < LAYOUTS_MAX; i++) {
		if (archives->layouts[i] && archives->layouts[i]->version->slot == slot) {
			dropped = archives->layouts[i];
			archives->layouts[i] = NULL;
			break;
		}
	}
	pthread_mutex_unlock(&archives->lock);
	layout_put(fs, dropped);
}

static struct layout *find_layout(struct fs *fs, uint32_t slot)
{
	struct archives *archives = fs->archives;
	struct layout *found = NULL;

	pthread_mutex_lock(&archives->lock);
	for (size_t i = 0; i < LAYOUTS_MAX && !found; i++) {
		struct layout *layout = archives->layouts[i];

		if (layout && layout->version->slot == slot) {
			layout->users++;
			layout->used = ++archives->uses;
			found = layout;
		}
	}
	pthread_mutex_unlock(&archives->lock);
	return found;
}

static void remember_size(struct archives *archives, uint32_t slot, uint64_t size)
{
	if (slot >= archives->size_count) {
		size_t count = (size_t)slot + 1 + slot / 2;
		uint64_t *sizes = realloc(archives->sizes, count * sizeof(*sizes));

		if (!sizes)
			return;
		memset(sizes + archives->size_count, 0,
		       (count - archives->size_count) * sizeof(*sizes));
		archives->sizes = sizes;
		archives->size_count = count;
	}
	archives->sizes[slot] = size;
}

/* Puts a layout into the place of the one that was not used for longest. */
static void add_layout(struct fs *fs, struct layout *layout)
{
	struct archives *archives = fs->archives;
	uint32_t slot = layout->version->slot;
	struct version *loaded;
	struct layout *oldest;
	size_t place = 0;

	pthread_mutex_lock(&archives->lock);
	for (size_t i = 0; i < LAYOUTS_MAX; i++) {
		if (!archives->layouts[i]) {
			place = i;
			break;
		}
		if (archives->layouts[i]->used < archives->layouts[place]->used)
			place = i;
	}
	oldest = archives->layouts[place];
	archives->layouts[place] = layout;
	layout->users++;
	layout->used = ++archives->uses;
	remember_size(archives, slot, tarball_size(layout->tarball));
	pthread_mutex_unlock(&archives->lock);
	layout_put(fs, oldest);
	/* Either this sees that it was unloaded meanwhile, or the unload sees it in the cache. */
	loaded = catalog_find_slot(fs->engine->catalog, slot);
	if (!loaded)
		archives_drop(fs, slot);
	version_put(loaded);
}

static int layout_get(struct call *call, struct version *version, struct layout **ret_layout)
{
	struct fs *fs = call->fs;
	struct reason reason = {0};
	struct layout *layout = find_layout(fs, version->slot);
	int r;

	if (layout) {
		*ret_layout = layout;
		return 0;
	}
	if (!call->may_block)
		return -EAGAIN;
	layout = calloc(1, sizeof(*layout));
	if (!layout)
		return -ENOMEM;
	layout->users = 1;
	layout->version = version_get(version);
	r = forest_get(fs->engine, version, false, &layout->tree, &reason);
	if (r == 0)
		r = tarball_new(layout->tree, version->has_signature ? &version->signature : NULL,
				version->signature_bytes, &layout->tarball);
	if (r < 0) {
		layout_put(fs, layout);
		return r;
	}
	add_layout(fs, layout);
	*ret_layout = layout;
	return 0;
}

int archive_size(struct call *call, struct version *version, uint64_t *ret_size)
{
	struct archives *archives = call->fs->archives;
	struct layout *layout;
	uint64_t size = 0;
	int r;

	pthread_mutex_lock(&archives->lock);
	if (version->slot < archives->size_count)
		size = archives->sizes[version->slot];
	pthread_mutex_unlock(&archives->lock);
	if (size == 0) {
		r = layout_get(call, version, &layout);
		if (r < 0)
			return r;
		size = tarball_size(layout->tarball);
		layout_put(call->fs, layout);
	}
	*ret_size = size;
	return 0;
}

/*
 * One answer under construction: literal and small bytes in `bytes`, the others in the store's map.
 */
struct answer {
	struct contents_reader *reader;
	char *bytes;
	size_t used;
	struct iovec vectors[VECTORS_MAX];
	int count;
};

/*
 * Bytes that were just put at the end of `bytes` go out; next to the last ones they share a vector.
 */
static int take_bytes(struct answer *answer, size_t length)
{
	char *start = answer->bytes + answer->used;
	struct iovec *last = answer->count ? &answer->vectors[answer->count - 1] : NULL;

	answer->used += length;
	if (last && (char *)last->iov_base + last->iov_len == start) {
		last->iov_len += length;
		return 0;
	}
	if (answer->count == VECTORS_MAX)
		return -EIO;
	answer->vectors[answer->count++] = (struct iovec){.iov_base = start, .iov_len = length};
	return 0;
}

static int copy_content(struct answer *answer, struct store *store,
			const struct tarball_segment *segment, size_t length)
{
	struct reason reason = {0};
	char *bytes = NULL;
	size_t size = 0;
	int r = contents_load(store, &segment->digest, COPIED_MAX, &bytes, &size, &reason);

	if (r == 0 && segment->offset + length > size)
		r = -EIO;
	if (r == 0) {
		memcpy(answer->bytes + answer->used, bytes + segment->offset, length);
		r = take_bytes(answer, length);
	}
	free(bytes);
	return r < 0 ? -EIO : 0;
}

static int map_content(struct answer *answer, const struct tarball_segment *segment, size_t length)
{
	uint64_t offset = segment->offset;

	while (length > 0) {
		int count = 0;
		ssize_t n;

		if (answer->count == VECTORS_MAX)
			return -EIO;
		n = contents_map(answer->reader, &segment->digest, offset, length,
				 answer->vectors + answer->count, VECTORS_MAX - answer->count,
				 &count);
		if (n <= 0)
			return -EIO;
		answer->count += count;
		offset += (uint64_t)n;
		length -= (size_t)n;
	}
	return 0;
}

static int verify_segment(struct call *call, const struct layout *layout,
			  const struct tarball_segment *segment)
{
	char path[INDEX_PATH_MAX + 1] = "manifest.sig";
	struct reason reason = {0};

	if (segment->node != UINT32_MAX)
		tree_path(layout->tree, segment->node, path, sizeof(path));
	return verify_file(call->fs->engine, layout->version, &segment->digest, segment->size, path,
			   !call->may_block, &reason);
}

/* Adds what is at `offset`, at most `left` bytes; *ret_length is how many. */
static int add_segment(struct call *call, const struct layout *layout, struct answer *answer,
		       uint64_t offset, size_t left, size_t *ret_length)
{
	struct tarball_segment segment;
	int r = tarball_segment(layout->tarball, offset, answer->bytes + answer->used, &segment);

	if (r < 0 || segment.length == 0)
		return -EIO;
	*ret_length = segment.length < left ? (size_t)segment.length : left;
	if (segment.source == TARBALL_LITERAL)
		return take_bytes(answer, *ret_length);
	r = verify_segment(call, layout, &segment);
	if (r < 0)
		return r;
	if (segment.size <= COPIED_MAX)
		return copy_content(answer, layout->version->store, &segment, *ret_length);
	return map_content(answer, &segment, *ret_length);
}

static int fill_answer(struct call *call, const struct layout *layout, struct answer *answer)
{
	uint64_t size = tarball_size(layout->tarball), offset = (uint64_t)call->offset;
	size_t left = call->size;

	if (offset >= size)
		return 0;
	if (left > size - offset)
		left = (size_t)(size - offset);
	while (left > 0) {
		size_t length = 0;
		int r = add_segment(call, layout, answer, offset, left, &length);

		if (r < 0)
			return r;
		offset += length;
		left -= length;
	}
	return 0;
}

int archive_read(struct call *call)
{
	const struct handle *handle = handle_of(&call->file);
	struct answer *answer = NULL;
	struct layout *layout;
	int r = layout_get(call, handle->version, &layout);

	if (r < 0)
		return r;
	answer = calloc(1, sizeof(*answer));
	if (answer)
		answer->bytes = malloc(call->size + TARBALL_HEADER_MAX);
	if (!answer || !answer->bytes)
		r = -ENOMEM;
	if (r == 0)
		r = contents_reader_open(handle->version->store, &answer->reader);
	if (r == 0)
		r = fill_answer(call, layout, answer);
	if (r == 0)
		fuse_reply_iov(call->request, answer->vectors, answer->count);
	if (answer) {
		contents_reader_close(answer->reader);
		free(answer->bytes);
		free(answer);
	}
	layout_put(call->fs, layout);
	return r;
}
