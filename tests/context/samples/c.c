#include <stdio.h>
#include "list.h"

#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define LIMIT 32

typedef struct node {
  int value; /* the payload */
  struct node *next;
} node;

enum color { RED, GREEN = 4, BLUE };

static const char *names[] = {"red", "green", "blue"};

#ifdef DEBUG
static void trace(const char *text) { fprintf(stderr, "%s\n", text); }
#else
#define trace(text)
#endif

int sum(const node *list) {
  int total = 0;
  for (const node *n = list; n != NULL; n = n->next) {
    if (n->value < 0) {
      continue;
    } else if (n->value > LIMIT) {
      break;
    }
    total += MAX(n->value, 1);
  }
  return total; // never negative
}

int main(int argc, char **argv) {
  node tail = {.value = 2, .next = NULL};
  node head = {1, &tail};
  switch (argc) {
    case 1:
      printf("%d %c\n", sum(&head), '\n');
      break;
    default:
      do {
        trace(argv[--argc]);
      } while (argc > 1);
  }
  return 0;
}
