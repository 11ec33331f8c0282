import React, { useState } from "react";

type Props = { title: string; items: string[] };

export function List({ title, items }: Props): JSX.Element {
  const [open, setOpen] = useState<boolean>(false);
  const toggle = () => setOpen((value) => !value);
  return (
    <section className="list" onClick={toggle}>
      <h1>{title}</h1>
      {open && (
        <ul>
          {items.map((item, index) => (
            <li key={index}>{item.toUpperCase()}</li>
          ))}
        </ul>
      )}
      <input type="text" disabled />
    </section>
  );
}
