/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is damaged, by type and name, with a text that says why and what to do.
 *
 * Owns: a sorted array of entries, under one lock that is held for look-ups and insertions only.
 * Bounded: past ENTRIES_MAX further findings are only logged, and each text is at most TEXT_MAX long.
 */
#include "engine/quarantine.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/clock.h"

#define ENTRIES_MAX 100000
#define TEXT_MAX    65536

struct finding {
	char type[TYPE_MAX + 1];
	char name[TYPE_MAX + 1];
	char *text;
	size_t length;
	int64_t at_ns;
};

struct quarantine {
	pthread_mutex_t lock;
	struct finding *findings; /* sorted by type, then name */
	size_t count, room;
	int64_t changed_ns;
};

struct quarantine *quarantine_new(void)
{
	struct quarantine *quarantine = calloc(1, sizeof(*quarantine));

	if (quarantine) {
		pthread_mutex_init(&quarantine->lock, NULL);
		quarantine->changed_ns = clock_wall_ns();
	}
	return quarantine;
}

void quarantine_free(struct quarantine *quarantine)
{
	if (!quarantine)
		return;
	for (size_t i = 0; i < quarantine->count; i++)
		free(quarantine->findings[i].text);
	free(quarantine->findings);
	pthread_mutex_destroy(&quarantine->lock);
	free(quarantine);
}

/* A file name out of a damaged key: what may not be in a name becomes `_`; never empty or dotted. */
static void clean_name(const char *raw, char clean[TYPE_MAX + 1])
{
	size_t length = strnlen(raw, TYPE_MAX);

	if (length == 0) {
		strcpy(clean, "_");
		return;
	}
	for (size_t i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)raw[i];
		bool plain = byte > 0x20 && byte < 0x7f && byte != '/';

		clean[i] = plain && !(i == 0 && byte == '.') ? (char)byte : '_';
	}
	clean[length] = '\0';
}

static size_t position_of(const struct quarantine *quarantine, const char *type, const char *name,
			  bool *ret_found)
{
	size_t low = 0, high = quarantine->count;

	*ret_found = false;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct finding *finding = &quarantine->findings[middle];
		int order = strcmp(finding->type, type);

		if (order == 0)
			order = strcmp(finding->name, name);
		if (order == 0) {
			*ret_found = true;
			return middle;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct finding *make_finding(struct quarantine *quarantine, const char *type,
				    const char *name)
{
	bool found;
	size_t position = position_of(quarantine, type, name, &found);
	struct finding *finding;

	if (found)
		return &quarantine->findings[position];
	if (quarantine->count == ENTRIES_MAX)
		return NULL;
	if (quarantine->count == quarantine->room) {
		size_t wanted = quarantine->room ? quarantine->room * 2 : 16;

		finding = realloc(quarantine->findings, wanted * sizeof(*finding));
		if (!finding)
			return NULL;
		quarantine->findings = finding;
		quarantine->room = wanted;
	}
	finding = &quarantine->findings[position];
	memmove(finding + 1, finding, (quarantine->count - position) * sizeof(*finding));
	*finding = (struct finding){0};
	strcpy(finding->type, type);
	strcpy(finding->name, name);
	quarantine->count++;
	return finding;
}

/* Appends a line unless the entry says so already. */
static void append_line(struct finding *finding, const char *line)
{
	size_t length = strlen(line);
	char *larger;

	if (finding->length + length + 2 > TEXT_MAX ||
	    (finding->text && strstr(finding->text, line)))
		return;
	larger = realloc(finding->text, finding->length + length + 2);
	if (!larger)
		return;
	memcpy(larger + finding->length, line, length);
	finding->text = larger;
	finding->length += length;
	finding->text[finding->length++] = '\n';
	finding->text[finding->length] = '\0';
}

void quarantine_add(struct engine *engine, const char *raw_type, const char *raw_name,
		    const struct reason *reason)
{
	struct quarantine *quarantine = engine->quarantine;
	char type[TYPE_MAX + 1], name[TYPE_MAX + 1];
	char line[sizeof(reason->message) + sizeof(reason->code) + 8];
	struct finding *finding;

	clean_name(raw_type, type);
	clean_name(raw_name, name);
	snprintf(line, sizeof(line), "%s: %s", reason->code, reason->message);
	pthread_mutex_lock(&quarantine->lock);
	finding = make_finding(quarantine, type, name);
	if (finding) {
		append_line(finding, line);
		finding->at_ns = quarantine->changed_ns = clock_wall_ns();
	}
	pthread_mutex_unlock(&quarantine->lock);
}

bool quarantine_remove(struct engine *engine, const char *type, const char *name)
{
	struct quarantine *quarantine = engine->quarantine;
	size_t position;
	bool found;

	pthread_mutex_lock(&quarantine->lock);
	position = position_of(quarantine, type, name, &found);
	if (found) {
		struct finding *finding = &quarantine->findings[position];

		free(finding->text);
		quarantine->count--;
		memmove(finding, finding + 1, (quarantine->count - position) * sizeof(*finding));
		quarantine->changed_ns = clock_wall_ns();
	}
	pthread_mutex_unlock(&quarantine->lock);
	return found;
}

int quarantine_list_types(struct engine *engine, struct name_list *ret_list)
{
	struct quarantine *quarantine = engine->quarantine;
	const char *last = "";

	pthread_mutex_lock(&quarantine->lock);
	*ret_list = (struct name_list){0};
	ret_list->names = malloc((quarantine->count + 1) * sizeof(*ret_list->names));
	for (size_t i = 0; ret_list->names && i < quarantine->count; i++) {
		const struct finding *finding = &quarantine->findings[i];

		if (strcmp(finding->type, last) != 0)
			strcpy(ret_list->names[ret_list->count++], finding->type);
		last = finding->type;
	}
	pthread_mutex_unlock(&quarantine->lock);
	return ret_list->names ? 0 : -ENOMEM;
}

int quarantine_list(struct engine *engine, const char *type, struct name_list *ret_list)
{
	struct quarantine *quarantine = engine->quarantine;

	pthread_mutex_lock(&quarantine->lock);
	*ret_list = (struct name_list){0};
	ret_list->names = malloc((quarantine->count + 1) * sizeof(*ret_list->names));
	for (size_t i = 0; ret_list->names && i < quarantine->count; i++) {
		const struct finding *finding = &quarantine->findings[i];

		if (strcmp(finding->type, type) == 0)
			strcpy(ret_list->names[ret_list->count++], finding->name);
	}
	pthread_mutex_unlock(&quarantine->lock);
	return ret_list->names ? 0 : -ENOMEM;
}

int quarantine_get(struct engine *engine, const char *type, const char *name, char **ret_text,
		   size_t *ret_length, int64_t *ret_at_ns)
{
	struct quarantine *quarantine = engine->quarantine;
	int error = -ENOENT;
	size_t position;
	bool found;

	pthread_mutex_lock(&quarantine->lock);
	position = position_of(quarantine, type, name, &found);
	if (found) {
		const struct finding *finding = &quarantine->findings[position];

		*ret_text = strdup(finding->text ? finding->text : "");
		*ret_length = finding->length;
		*ret_at_ns = finding->at_ns;
		error = *ret_text ? 0 : -ENOMEM;
	}
	pthread_mutex_unlock(&quarantine->lock);
	return error;
}

bool quarantine_has(struct engine *engine, const char *type, const char *name)
{
	bool found;

	pthread_mutex_lock(&engine->quarantine->lock);
	position_of(engine->quarantine, type, name, &found);
	pthread_mutex_unlock(&engine->quarantine->lock);
	return found;
}

bool quarantine_has_type(struct engine *engine, const char *type)
{
	struct quarantine *quarantine = engine->quarantine;
	size_t position;
	bool found;

	pthread_mutex_lock(&quarantine->lock);
	position = position_of(quarantine, type, "", &found);
	found = position < quarantine->count &&
		strcmp(quarantine->findings[position].type, type) == 0;
	pthread_mutex_unlock(&quarantine->lock);
	return found;
}

uint64_t quarantine_count(struct engine *engine)
{
	uint64_t count;

	pthread_mutex_lock(&engine->quarantine->lock);
	count = engine->quarantine->count;
	pthread_mutex_unlock(&engine->quarantine->lock);
	return count;
}

int64_t quarantine_changed_ns(struct engine *engine)
{
	int64_t changed_ns;

	pthread_mutex_lock(&engine->quarantine->lock);
	changed_ns = engine->quarantine->changed_ns;
	pthread_mutex_unlock(&engine->quarantine->lock);
	return changed_ns;
}
