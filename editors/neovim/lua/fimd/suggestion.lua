--- One suggestion of the daemon, and how it relates to a buffer that goes on changing.

local text = require('fimd.text')

---@class fimd.Suggestion
---@field text string The whole text, from the start of its range.
---@field row integer 0-based row of the range.
---@field head string The line before the range.
---@field tail string From the cursor at the time of the request to the end of the range.
---@field rest string The line after the range.
---@field item table The LSP item.
---@field request fimd.Request
---@field shown boolean? The daemon was told that it was shown.

---@class fimd.Place Where a suggestion is in the buffer now.
---@field typed string What of it is in the buffer already.
---@field remaining string What is not.
---@field tail string Text after the cursor that it replaces.
---@field row integer 0-based cursor row.
---@field col integer Cursor column in bytes.

local M = {}

--- A suggestion from an item of a reply; nil if it cannot be shown.
---@param item table lsp.InlineCompletionItem
---@param request fimd.Request
---@param encoding string
---@return fimd.Suggestion?
function M.new(item, request, encoding)
  local insert = item.insertText
  if type(insert) == 'table' then
    insert = insert.value
  end
  if type(insert) ~= 'string' or insert == '' then
    return nil
  end
  local line = request.line
  local from, to = request.col, request.col
  local range = item.range
  if type(range) == 'table' then
    if range.start.line ~= request.row or range['end'].line ~= request.row then
      return nil
    end
    from = text.byte_column(line, range.start.character, encoding)
    to = text.byte_column(line, range['end'].character, encoding)
    if from > request.col or to < request.col then
      return nil
    end
  end
  return {
    text = insert:gsub('\r\n', '\n'),
    row = request.row,
    head = line:sub(1, from),
    tail = line:sub(request.col + 1, to),
    rest = line:sub(to + 1),
    item = item,
    request = request,
  }
end

--- Where the suggestion stands for a cursor, after whatever was typed since the request.
---@param suggestion fimd.Suggestion
---@param buf integer
---@param row integer 0-based
---@param col integer
---@return fimd.Place? place nil if the buffer does not agree with it any more
function M.locate(suggestion, buf, row, col)
  if row < suggestion.row then
    return nil
  end
  local lines = vim.api.nvim_buf_get_lines(buf, suggestion.row, row + 1, false)
  if #lines ~= row - suggestion.row + 1 or not vim.startswith(lines[1], suggestion.head) then
    return nil
  end
  local after = lines[#lines]:sub(col + 1)
  lines[#lines] = lines[#lines]:sub(1, col)
  local typed = table.concat(lines, '\n'):sub(#suggestion.head + 1)
  if row == suggestion.row and col < #suggestion.head then
    return nil
  end
  if #typed >= #suggestion.text or not vim.startswith(suggestion.text, typed) then
    return nil
  end
  local tail = text.tail_now(after, suggestion.tail, suggestion.rest)
  if not tail then
    return nil
  end
  return {
    typed = typed,
    remaining = suggestion.text:sub(#typed + 1),
    tail = tail,
    row = row,
    col = col,
  }
end

return M
