/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `aionfs list`: the versions in a state directory, read from the store, with or without a mount.
 * Rows that the reload would quarantine are shown, too, marked as damaged.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/clock.h"
#include "engine/reload.h"
#include "fs/commands.h"
#include "fs/say.h"
#include "store/rows.h"
#include "store/store.h"

struct listing {
	struct version_row *versions;
	size_t version_count, version_room;
	struct route_row *routes;
	size_t route_count, route_room;
	uint64_t damaged;
};

/* Returns a new place at the end of an array, or NULL without memory. */
static void *append(void **array, size_t *count, size_t *room, size_t size)
{
	size_t wanted = *room ? 2 * *room : 64;
	void *larger;

	if (*count == *room) {
		larger = realloc(*array, wanted * size);
		if (!larger)
			return NULL;
		*array = larger;
		*room = wanted;
	}
	return (char *)*array + size * (*count)++;
}

static int take_version(void *context, const char *type, const struct digest *version,
			const struct version_row *row, const struct reason *why)
{
	struct listing *listing = context;
	void *array = listing->versions;
	struct version_row *place;
	char hex[DIGEST_HEX + 1];

	if (!row) {
		say("%s/%s: %s; deploy the same archive again", type, digest_hex(version, hex),
		    why->message);
		listing->damaged++;
		return 0;
	}
	place = append(&array, &listing->version_count, &listing->version_room, sizeof(*place));
	listing->versions = array;
	if (!place)
		return -ENOMEM;
	*place = *row;
	return 0;
}

static int take_route(void *context, const char *type, const struct route_row *row,
		      const struct reason *why)
{
	struct listing *listing = context;
	void *array = listing->routes;
	struct route_row *place;

	if (!row) {
		say("the route of %s: %s; point it again", type, why->message);
		listing->damaged++;
		return 0;
	}
	place = append(&array, &listing->route_count, &listing->route_room, sizeof(*place));
	listing->routes = array;
	if (!place)
		return -ENOMEM;
	*place = *row;
	return 0;
}

/* By type, then the latest deploy first, as ls -lt has it. */
static int by_type_and_age(const void *left, const void *right)
{
	const struct version_row *a = left, *b = right;
	int order = strcmp(a->type, b->type);

	if (order)
		return order;
	return a->changed > b->changed ? -1 : a->changed < b->changed;
}

static bool is_routed(const struct listing *listing, const struct version_row *row)
{
	for (size_t i = 0; i < listing->route_count; i++) {
		const struct route_row *route = &listing->routes[i];

		if (strcmp(route->type, row->type) == 0)
			return !route->removed && digest_equal(&route->version, &row->version);
	}
	return false;
}

/* A label is free text from an archive: no control characters reach the terminal. */
static const char *show_label(char *label)
{
	for (char *at = label; *at; at++) {
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			*at = '?';
	}
	return label[0] ? label : "-";
}

static void print_version(struct listing *listing, struct store *store,
			  const struct version_row *row)
{
	char hex[DIGEST_HEX + 1], text[CLOCK_TEXT];
	struct reason reason = {0};
	struct manifest manifest = {0};
	bool has_executable;
	const char *state = is_routed(listing, row) ? "routed" : "-";

	if (reload_judge(store, row, &manifest, &has_executable, &reason) != 0) {
		say("%s/%s: %s; deploy the same archive again", row->type,
		    digest_hex(&row->version, hex), reason.message);
		listing->damaged++;
		state = "damaged";
		manifest.label[0] = '\0';
	}
	printf("%-24s %s %-7s %s %s\n", row->type, digest_hex(&row->version, hex), state,
	       clock_format(row->last_ns, text), show_label(manifest.label));
}

static int list_store(struct listing *listing, struct store *store)
{
	int error = rows_each_version(store, take_version, listing);

	if (!error)
		error = rows_each_route(store, take_route, listing);
	if (error)
		return error;
	if (listing->version_count > 0)
		qsort(listing->versions, listing->version_count, sizeof(*listing->versions),
		      by_type_and_age);
	if (listing->version_count > 0)
		printf("%-24s %-64s %-7s %-24s %s\n", "TYPE", "VERSION", "ROUTE", "DEPLOYED",
		       "LABEL");
	for (size_t i = 0; i < listing->version_count; i++)
		print_version(listing, store, &listing->versions[i]);
	return 0;
}

static int list(const char *path)
{
	struct listing listing = {0};
	struct store *store = NULL;
	struct reason reason = {0};
	int error = store_open(path, STORE_READ, &store, &reason);

	if (!error)
		error = list_store(&listing, store);
	if (error)
		say_reason(path, &reason, error);
	store_close(store);
	free(listing.versions);
	free(listing.routes);
	return error || listing.damaged > 0 ? EXIT_FAILED : EXIT_DONE;
}

static int run_list(int argc, char **argv)
{
	int first, code;

	if (command_options(&command_list, argc, argv, "", NULL, NULL, &first, &code))
		return code;
	if (argc - first != 1)
		return command_usage(&command_list);
	return say_finish(list(argv[first]));
}

const struct command command_list = {
    .name = "list",
    .arguments = "STATE",
    .summary = "list the versions in a state directory",
    .details = "Prints each persisted version, by type and the latest deploy first: its type, its\n"
	       "version, whether the type's stored route points to it, when it was last deployed\n"
	       "(UTC), and its label. Works beside a mount and without one.\n",
    .run = run_list,
};
