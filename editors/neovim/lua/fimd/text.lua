--- Pure functions on text: what to accept, how suggestions sit among closing brackets, columns.

local M = {}

---@param text string
---@param at integer 1-based byte
---@return integer length of the UTF-8 character there
local function char_length(text, at)
  local lead = text:byte(at)
  if lead < 0x80 then
    return 1
  end
  return math.min(lead < 0xE0 and 2 or lead < 0xF0 and 3 or 4, #text - at + 1)
end

--- How many bytes of `text` a part of it has.
--- A word is leading white space and then one word or one run of punctuation; a line ends before
--- the next line break, and begins with one if `text` does.
---@param text string
---@param part 'all'|'word'|'line'
---@return integer
function M.part_length(text, part)
  if part == 'word' then
    local _, blank = text:find('^%s*')
    local _, word = text:find('^[%w_\128-\255]+', blank + 1)
    local _, marks = text:find('^[^%w_%s\128-\255]+', blank + 1)
    return word or marks or blank
  elseif part == 'line' then
    local _, breaks = text:find('^[\r\n]+')
    local stop = text:find('\r?\n', (breaks or 0) + 1)
    return stop and stop - 1 or #text
  end
  return #text
end

--- Where the characters of `tail` (text after the cursor that the suggestion replaces, such as an
--- auto-closed bracket) are found again in the suggestion's first line, from the right.
---@param line string
---@param tail string
---@return integer[]? positions 1-based bytes in `line`, one per byte of `tail`; nil if they are not
function M.align(line, tail)
  local positions = {}
  local at = #line
  if tail:find('[\128-\255]') and line:sub(-#tail) ~= tail then
    return nil -- bytes of different characters must not be mixed
  end
  for i = #tail, 1, -1 do
    local byte = tail:byte(i)
    while at > 0 and line:byte(at) ~= byte do
      at = at - 1
    end
    if at == 0 then
      return nil
    end
    positions[i] = at
    at = at - 1
  end
  return positions
end

--- The pieces of a suggestion's first line between the characters it shares with `tail`.
---@param line string
---@param tail string
---@return { offset: integer, text: string }[]? pieces with the byte of `tail` they go before
function M.pieces(line, tail)
  local positions = M.align(line, tail)
  if not positions then
    return nil
  end
  local pieces = {}
  local from = 1
  for i = 1, #tail do
    if positions[i] > from then
      pieces[#pieces + 1] = { offset = i - 1, text = line:sub(from, positions[i] - 1) }
    end
    from = positions[i] + 1
  end
  if from <= #line then
    pieces[#pieces + 1] = { offset = #tail, text = line:sub(from) }
  end
  return pieces
end

--- What `part` of a suggestion puts at the cursor, and how much of `tail` it takes away for it.
---@param text string
---@param tail string
---@param part 'all'|'word'|'line'
---@return string inserted
---@return integer taken bytes of `tail`
function M.accepted(text, tail, part)
  local length = M.part_length(text, part)
  local inserted = text:sub(1, length)
  if tail == '' or length == #text then
    return inserted, #tail
  end
  local positions = M.align(text:match('^[^\n]*'), tail)
  if not positions then
    return inserted, #tail
  end
  local taken = 0
  for i = 1, #tail do
    if positions[i] <= length then
      taken = i
    end
  end
  return inserted, taken
end

--- What of the text after the cursor belongs to the suggestion, now that more was typed.
--- `tail` .. `rest` followed the cursor when the suggestion was asked for. Since then an editor may
--- have typed over parts of the tail or closed brackets by itself.
---@param after string what follows the cursor now
---@param tail string
---@param rest string
---@return string? tail nil if `after` is something else
function M.tail_now(after, tail, rest)
  local full = tail .. rest
  if after == full then
    return tail
  end
  if #after < #full then
    local missing = #full - #after
    if missing <= #tail and full:sub(missing + 1) == after then
      return tail:sub(missing + 1)
    end
    return nil
  end
  local extra = after:sub(1, #after - #full)
  if after:sub(#extra + 1) == full and extra:find('^[%)%]}>"\'`]+$') then
    return extra .. tail
  end
  return nil
end

--- `text` with tabs as blanks, for virtual text, which does not know columns.
---@param text string
---@param column integer screen column where it begins
---@param tabstop integer
---@return string
function M.expand_tabs(text, column, tabstop)
  if not text:find('\t', 1, true) then
    return text
  end
  local out = {}
  for piece, tab in text:gmatch('([^\t]*)(\t?)') do
    out[#out + 1] = piece
    column = column + vim.fn.strdisplaywidth(piece, column)
    if tab ~= '' then
      local blanks = tabstop - column % tabstop
      out[#out + 1] = (' '):rep(blanks)
      column = column + blanks
    end
  end
  return table.concat(out)
end

---@param text string
---@return integer
function M.utf16_length(text)
  local units = 0
  local at = 1
  while at <= #text do
    local length = char_length(text, at)
    units = units + (length == 4 and 2 or 1)
    at = at + length
  end
  return units
end

--- The byte column of a column in the units of a position encoding.
---@param line string
---@param character integer
---@param encoding 'utf-8'|'utf-16'|'utf-32'
---@return integer
function M.byte_column(line, character, encoding)
  if encoding == 'utf-8' then
    return math.min(character, #line)
  end
  local at = 1
  while at <= #line and character > 0 do
    local length = char_length(line, at)
    character = character - ((encoding == 'utf-16' and length == 4) and 2 or 1)
    at = at + length
  end
  return at - 1
end

return M
