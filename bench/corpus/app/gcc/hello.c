#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
  char *word = strdup("READY");
  puts(word);
  free(word);
  return 0;
}
