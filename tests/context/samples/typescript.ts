import type { Shape } from "./shape";

export interface Point<T extends number = number> {
  readonly x: T;
  y?: T;
  norm(scale: number): number;
}

type Handler = (event: string, ...args: unknown[]) => void | Promise<void>;

enum Level {
  Low = 1,
  High,
}

abstract class Base<T> implements Point {
  constructor(public readonly x: number, protected items: T[] = []) {}
  abstract name(): string;
  norm(scale = 1): number {
    return Math.abs(this.x) * scale;
  }
}

export class Derived extends Base<string> {
  private handlers: Record<string, Handler> = {};

  name(): string {
    return this.items.join(",") as string;
  }

  on(event: keyof typeof Level, handler: Handler): this {
    this.handlers[event] = handler;
    if (!handler) {
      throw new Error(`no handler for ${event}`);
    }
    return this;
  }
}

function isShape(value: unknown): value is Shape {
  return typeof value === "object" && value !== null && "area" in value;
}

declare module "x" {
  const y: number;
}
