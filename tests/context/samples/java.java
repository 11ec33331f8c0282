package shop;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;

/** A cart. */
public class Cart<T extends Comparable<T>> implements Iterable<T> {
  private static final int LIMIT = 10;
  private final List<T> items = new ArrayList<>();

  public Cart(T first) {
    items.add(first);
  }

  @Override
  public java.util.Iterator<T> iterator() {
    return items.iterator();
  }

  public <R> List<R> map(Function<? super T, R> f) throws IllegalStateException {
    List<R> out = new ArrayList<>();
    for (T item : items) {
      if (out.size() >= LIMIT) {
        throw new IllegalStateException("too many: " + item);
      } else {
        out.add(f.apply(item));
      }
    }
    return out;
  }

  enum Kind {
    SMALL,
    LARGE;
  }

  record Point(int x, int y) {}

  static String name(Kind kind) {
    String block = """
        two
        lines""";
    try {
      return switch (kind) {
        case SMALL -> "s";
        case LARGE -> block;
      };
    } catch (RuntimeException e) {
      return null;
    }
  }
}
